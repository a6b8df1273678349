package soak

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// front is what a Service is in a cluster: one address for the replicas of ingest,
// in turn. A replica that takes no connection is passed over; one that breaks in
// the middle is the sender's to see.
type front struct {
	http.Server
	addr     string
	replicas []string
	turn     atomic.Uint64
	client   http.Client
}

func newFront() (*front, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &front{addr: "http://" + l.Addr().String(), client: http.Client{Timeout: 5 * time.Second}}
	f.Handler = f
	f.ReadHeaderTimeout = 5 * time.Second
	go func() { _ = f.Serve(l) }() // ends with ErrServerClosed at Close
	return f, nil
}

// ServeHTTP hands the request to the next replica.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	first := f.turn.Add(1)
	for i := range f.replicas {
		to := f.replicas[(first+uint64(i))%uint64(len(f.replicas))]
		req, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req.Header = r.Header.Clone()
		res, err := f.client.Do(req)
		if err != nil {
			continue
		}
		answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		res.Body.Close()
		if err != nil {
			break
		}
		for name, values := range res.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(res.StatusCode)
		_, _ = w.Write(answer) // the sender went away
		return
	}
	w.WriteHeader(http.StatusBadGateway)
}
