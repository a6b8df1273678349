package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/goccy/go-yaml"
)

// Answer is a reply that has not been written yet, so that it can still be damaged.
type Answer struct {
	Status int // default 200
	Type   string
	Header http.Header
	Body   []byte
}

const htmlPage = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"

// Serve answers one call under the rules that met it: do does what was asked and returns the true answer, refuse
// writes a rule (CodeBefore, CodeAfter, TooManyRequests, NoFunds, OutOfStock) in the supplier's own error form.
// do is called at most once, and not at all under a rule that says "before".
func Serve(w http.ResponseWriter, r *http.Request, rules []Rule, do func() Answer, refuse func(Rule) Answer) {
	for _, rule := range rules {
		if rule.Kind == SlowBefore {
			Sleep(r.Context(), time.Duration(rule.Delay))
		}
	}
	for _, rule := range rules {
		if !rule.Before() {
			continue
		}
		switch rule.Kind {
		case Reset:
			drop(w, true)
		case StatusBefore:
			write(w, statusAnswer(rule))
		case HTMLBefore:
			write(w, Answer{Status: status(rule, http.StatusBadGateway), Type: "text/html", Body: []byte(htmlPage)})
		default:
			write(w, refuse(rule))
		}
		return
	}
	a := do()
	for _, rule := range rules {
		switch rule.Kind {
		case SlowAfter:
			Sleep(r.Context(), time.Duration(rule.Delay))
		case LostReply:
			drop(w, false)
			return
		case HalfBody:
			half(w, a)
			return
		case StatusAfter:
			a = statusAnswer(rule)
		case HTMLAfter:
			a = Answer{Status: status(rule, http.StatusOK), Type: "text/html", Body: []byte(htmlPage)}
		case CodeAfter:
			a = refuse(rule)
		case HugeBody:
			a.Body = pad(a.Body, rule.Size)
		}
	}
	write(w, a)
}

func status(r Rule, def int) int {
	if r.Status != 0 {
		return r.Status
	}
	return def
}

func statusAnswer(r Rule) Answer {
	code := status(r, http.StatusInternalServerError)
	return Answer{Status: code, Type: "text/plain; charset=utf-8", Body: []byte(http.StatusText(code))}
}

func write(w http.ResponseWriter, a Answer) {
	h := w.Header()
	for k, v := range a.Header {
		h[k] = v
	}
	if a.Type != "" {
		h.Set("Content-Type", a.Type)
	}
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
	w.Write(a.Body) // a caller that has gone away is the caller's affair
}

// drop closes the connection without an answer: with a TCP reset or with a plain end of stream.
func drop(w http.ResponseWriter, reset bool) {
	hj, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	c, _, err := hj.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tc, ok := c.(*net.TCPConn); ok && reset {
		tc.SetLinger(0)
	}
	c.Close()
}

// half promises the whole body, sends half of it and closes the connection.
func half(w http.ResponseWriter, a Answer) {
	full := a.Body
	a.Body = full[:len(full)/2]
	for k, v := range a.Header {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", a.Type)
	w.Header().Set("Content-Length", strconv.Itoa(len(full)))
	w.WriteHeader(http.StatusOK)
	w.Write(a.Body)
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// pad makes a JSON object's text size bytes long with one more member, so that it stays valid.
func pad(b []byte, size int) []byte {
	if size == 0 {
		size = 10 << 20
	}
	b = bytes.TrimSpace(b)
	const head, tail = `,"padding":"`, `"}`
	n := size - len(b) - len(head) - len(tail) + 1
	if n <= 0 || len(b) < 3 || b[len(b)-1] != '}' {
		return b
	}
	out := make([]byte, 0, size)
	out = append(append(out, b[:len(b)-1]...), head...)
	out = append(out, bytes.Repeat([]byte("x"), n)...)
	return append(out, tail...)
}

// Sleep waits for d or until the context ends.
func Sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Load reads rules from a script file: an array of rules, or an object with the array under "faults", in YAML or JSON.
func Load(file string) ([]Rule, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("fault: reading script: %w", err)
	}
	j, err := yaml.YAMLToJSON(b)
	if err != nil {
		return nil, fmt.Errorf("fault: script %s: %w", file, err)
	}
	var wrapped struct {
		Faults json.RawMessage `json:"faults"`
	}
	if json.Unmarshal(j, &wrapped) == nil && wrapped.Faults != nil {
		j = wrapped.Faults
	}
	return ParseJSON(j)
}

// Admin serves the rules over HTTP: GET lists them, POST adds one or an array, DELETE removes one (?id=) or all.
func (s *Set) Admin(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		WriteJSON(w, http.StatusOK, s.Rules())
	case http.MethodPost:
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			WriteJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		rules, err := ParseJSON(b)
		if err == nil {
			var ids []int
			if ids, err = s.Add(rules...); err == nil {
				WriteJSON(w, http.StatusOK, map[string][]int{"ids": ids})
				return
			}
		}
		WriteJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
	case http.MethodDelete:
		if id := r.URL.Query().Get("id"); id != "" {
			n, err := strconv.Atoi(id)
			if err != nil || !s.Remove(n) {
				WriteJSON(w, http.StatusNotFound, map[string]string{"error": "no rule with id " + id})
				return
			}
		} else {
			s.Clear()
		}
		WriteJSON(w, http.StatusOK, s.Rules())
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		WriteJSON(w, http.StatusMethodNotAllowed, map[string]string{"error": "use GET, POST or DELETE"})
	}
}

// WriteJSON answers an administrator's call.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"encoding the answer failed"}`)
	}
	write(w, Answer{Status: status, Type: "application/json; charset=utf-8", Body: append(b, '\n')})
}
