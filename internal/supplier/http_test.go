package supplier

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func asError(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}

func post(url string) Call {
	return Call{Op: "op", Method: http.MethodPost, URL: url, Body: []byte("{}")}
}

func TestDoAnswers(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, r.Header.Get("X-Test")+string(body))
	})
	call := post(s.URL)
	call.Header = http.Header{"X-Test": {"a"}}
	got, err := NewHTTP(HTTPConfig{}).Do(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != http.StatusTeapot || string(got.Body) != "a{}" || got.RetryAfter != 7*time.Second {
		t.Errorf("got %+v", got)
	}
	if !got.HasClock || got.Clock.Abs() > clockError(got) {
		t.Errorf("clock %v, %v, want about 0 of this very machine", got.Clock, got.HasClock)
	}
}

// clockError is how wrong a clock may be that was told in whole seconds, at some
// moment of a call, however long the machine let it wait.
func clockError(a Answer) time.Duration { return 500*time.Millisecond + a.Took/2 }

func TestClockIsMeasuredFromTheDateHeader(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-10*time.Minute).UTC().Format(http.TimeFormat))
	})
	got, err := NewHTTP(HTTPConfig{}).Do(t.Context(), post(s.URL))
	if err != nil || !got.HasClock || (got.Clock+10*time.Minute).Abs() > clockError(got) {
		t.Errorf("clock %v, %v, %v, want about -10m", got.Clock, got.HasClock, err)
	}
}

func TestBodyLimit(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		code string
	}{"at the limit": {64, ""}, "over the limit": {65, "(too large)"}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", c.size)) })
			_, err := NewHTTP(HTTPConfig{MaxBody: 64}).Do(t.Context(), post(s.URL))
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
			} else if e := asError(t, err); e.Code != c.code || e.Kind != Unknown || !e.Sent {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// A server that closes whatever it is asked: a POST is only made again if the kernel
// took no byte of it, so the server never sees one twice.
func TestAPostIsNeverRepeated(t *testing.T) {
	var posts atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		posts.Add(1)
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	})
	h := NewHTTP(HTTPConfig{})
	for i := range 20 {
		e := asError(t, second(h.Do(t.Context(), post(s.URL))))
		if e.Kind != Unknown || !e.Sent || e.Code != "(reset)" {
			t.Fatalf("got %+v", e)
		}
		if n := posts.Load(); n != int32(i+1) {
			t.Fatalf("call %d arrived as post %d", i+1, n)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestNotSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String()
	listener.Close()
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	for name, url := range map[string]string{
		"refused":                 closed,
		"TLS to a plain server":   strings.Replace(plain.URL, "http://", "https://", 1),
		"a URL that is none":      "http://127.0.0.1:x/",
		"a scheme that is none":   "gopher://127.0.0.1/",
		"a host that is not here": "http://nowhere.invalid/",
	} {
		t.Run(name, func(t *testing.T) {
			e := asError(t, second(NewHTTP(HTTPConfig{DialTimeout: 30 * time.Second}).Do(t.Context(), post(url))))
			if e.Sent || e.Kind != Busy || e.Code != "(dial)" && e.Code != "(bad request)" {
				t.Errorf("got %+v, want busy and not sent", e)
			}
			if strings.Contains(e.Error(), url) {
				t.Errorf("%q tells the URL", e.Error())
			}
		})
	}
}

func TestTimeoutOfASilentListener(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	e := asError(t, second(NewHTTP(HTTPConfig{Timeout: afterSent}).Do(t.Context(), post("http://"+listener.Addr().String()))))
	if e.Code != "(timeout)" || e.Kind != Unknown || !e.Sent || !errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("got %+v, want an unknown time-out: the kernel took the connection and the bytes", e)
	}
}

func TestTimeoutInTheBody(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"code":`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	e := asError(t, second(NewHTTP(HTTPConfig{Timeout: afterSent}).Do(t.Context(), post(s.URL))))
	if e.Code != "(timeout)" || e.Kind != Unknown || !e.Sent {
		t.Errorf("got %+v", e)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var hits atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/other", http.StatusPermanentRedirect)
	})
	got, err := NewHTTP(HTTPConfig{}).Do(t.Context(), post(s.URL))
	if err != nil || got.Status != http.StatusPermanentRedirect || hits.Load() != 1 {
		t.Errorf("status %d, %v, %d hits", got.Status, err, hits.Load())
	}
}

// A full load must not dial anew for each call.
func TestConnectionsAreKept(t *testing.T) {
	const at, rounds = 64, 5
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	h := NewHTTP(HTTPConfig{})
	for range rounds {
		var wg sync.WaitGroup
		for range at {
			wg.Go(func() {
				if _, err := h.Do(t.Context(), post(s.URL)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if n := conns.Load(); n > 2*at { // a few spare dials race with connections that come free
		t.Errorf("%d connections for %d calls, %d at once", n, at*rounds, at)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "soon": 0, "30": 30 * time.Second, "99999999": maxRetryAfter, "9223372037": maxRetryAfter,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
