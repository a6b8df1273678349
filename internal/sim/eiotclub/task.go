package eiotclub

import (
	"fmt"
	"strconv"
	"time"
)

// cardReset is 批量重置卡 (D): at most 100 cards, done by a batch task. The documented answer has no data, so the task's
// id reaches the buyer some other way (the platform's task page); here it stands in the book.
func (s *Sim) cardReset(c *call) reply {
	iccids := c.p.list("iccids")
	switch {
	case len(iccids) == 0:
		return refuse(41001)
	case len(iccids) > 100:
		return refuse(41007)
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	s.book.addTask(iccids, c.now)
	return ok(nil)
}

func (b *book) addTask(iccids []string, now time.Time) *Task {
	t := &Task{ID: strconv.FormatInt(b.nextID, 10), ICCIDs: iccids, At: now}
	b.nextID++
	b.tasks[t.ID] = t
	return t
}

// taskQuery is 查询批处理任务状态 (D): at most 100 ids; status is a string: 0 waiting, 1 running, 2 success, -1 ended,
// -2 failed. Ids that are not known are left out; more than 100 are a parameter error (both I).
func (s *Sim) taskQuery(c *call) reply {
	ids := c.p.list("ids")
	if len(ids) == 0 || len(ids) > 100 {
		return refuse(43332)
	}
	type row struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Result string `json:"result"`
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	rows := []row{}
	for _, id := range ids {
		t := s.book.tasks[id]
		if t == nil || s.faults.Hidden(c.path, c.now.Sub(t.At), id) {
			continue
		}
		r := row{ID: id, Status: "2", Result: t.Result}
		switch age := c.now.Sub(t.At); {
		case t.Status != nil:
			r.Status = strconv.Itoa(*t.Status)
		case age < s.cfg.TaskDuration/2:
			r.Status = "0"
		case age < s.cfg.TaskDuration:
			r.Status = "1"
		default:
			r.Result = fmt.Sprintf("success: %d, failed: 0", len(t.ICCIDs))
		}
		rows = append(rows, r)
	}
	return ok(rows)
}

// trafficQuery is ICCID流量查询接口 (D): bytes by card from the CDR files, as a string, for the days startDate..endDate
// or a month; only cards with traffic are named. The days are UTC days of a record's start (I: CDR times are UTC).
func (s *Sim) trafficQuery(c *call) reply {
	iccids := c.p.list("iccids")
	if len(iccids) == 0 {
		return refuse(41001)
	}
	var from, to time.Time
	var err1, err2 error
	switch c.p["dateType"] {
	case "daily":
		from, err1 = time.Parse(time.DateOnly, c.p["startDate"])
		to, err2 = time.Parse(time.DateOnly, c.p["endDate"])
	case "monthly":
		from, err1 = time.Parse("2006-01", c.p["month"])
		to = from.AddDate(0, 1, -1)
	default:
		return refuse(43332)
	}
	switch {
	case err1 != nil:
		return refuse(41004)
	case err2 != nil:
		return refuse(41005)
	case to.Before(from) || to.Sub(from) > 366*24*time.Hour:
		return refuse(41006)
	}
	type row struct {
		ICCID   string `json:"iccid"`
		Traffic string `json:"traffic"`
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	rows := []row{}
	for _, iccid := range iccids {
		var sum int64
		for d := from; !d.After(to); d = d.AddDate(0, 0, 1) {
			sum += s.book.traffic[trafficKey{iccid, d.Format(time.DateOnly)}]
		}
		if sum > 0 {
			rows = append(rows, row{iccid, strconv.FormatInt(sum, 10)})
		}
	}
	return ok(rows)
}
