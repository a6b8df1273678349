package eiotclub

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/simline/simline/internal/supplier"
)

// Task is one batch task.
type Task struct {
	ID     string
	Status int // TaskWaiting …
	Result string
}

// Statuses of a task (D).
const (
	TaskWaiting   = 0
	TaskRunning   = 1
	TaskSucceeded = 2
	TaskEnded     = -1 // stopped before its end
	TaskFailed    = -2
)

// Ended says that the task will not move any more.
func (t Task) Ended() bool { return t.Status != TaskWaiting && t.Status != TaskRunning }

// Tasks reads the tasks among ids, at most MaxTaskIDs (D: 查询批处理任务状态). One
// that the supplier does not know is missing from the answer. A status that is no
// number is an error: it would read as "waiting" for ever.
func (c *Client) Tasks(ctx context.Context, ids []string) ([]Task, error) {
	var rows []struct {
		ID     ID   `json:"id"`
		Status Text `json:"status"`
		Result Text `json:"result"`
	}
	if _, err := c.read(ctx, "task/query", params{}.list("ids", ids), &rows); err != nil {
		return nil, err
	}
	out := make([]Task, 0, len(rows))
	for _, r := range rows {
		status, err := strconv.Atoi(string(r.Status))
		if err != nil {
			return nil, &supplier.Error{Op: "task/query", Kind: supplier.Unknown, Code: "(odd data)", Sent: true,
				Err: fmt.Errorf("task %s has status %.20q", r.ID, r.Status)}
		}
		out = append(out, Task{ID: string(r.ID), Status: status, Result: string(r.Result)})
	}
	return out, nil
}

// Traffic reads the bytes that cards used on the days from..to, both included,
// out of the supplier's own CDR files (D: ICCID流量查询接口). The document names no
// zone for its days. A card without traffic is missing from the answer.
func (c *Client) Traffic(ctx context.Context, iccids []string, from, to time.Time) (map[string]int64, error) {
	return c.traffic(ctx, params{}.list("iccids", iccids).text("dateType", "daily").
		text("startDate", from.Format(time.DateOnly)).text("endDate", to.Format(time.DateOnly)))
}

// TrafficMonth is Traffic of a whole month.
func (c *Client) TrafficMonth(ctx context.Context, iccids []string, month time.Time) (map[string]int64, error) {
	return c.traffic(ctx, params{}.list("iccids", iccids).text("dateType", "monthly").text("month", month.Format("2006-01")))
}

func (c *Client) traffic(ctx context.Context, p params) (map[string]int64, error) {
	const op = "cdr/traffic/query"
	var rows []struct {
		ICCID   Text        `json:"iccid"`
		Traffic json.Number `json:"traffic"` // a string in the document; encoding/json takes either
	}
	if _, err := c.read(ctx, op, p, &rows); err != nil {
		return nil, err
	}
	out := make(map[string]int64, len(rows))
	for _, r := range rows {
		n, err := r.Traffic.Int64()
		if err != nil {
			return nil, &supplier.Error{Op: op, Kind: supplier.Unknown, Code: "(odd data)", Sent: true, Err: fmt.Errorf("traffic of a card: %w", err)}
		}
		out[string(r.ICCID)] += n
	}
	return out, nil
}
