package ingest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
)

// request is what ingest needs of an HTTP request, whoever read it.
type request struct {
	method, path string
	remote       string   // the connection's other end, host:port
	forwarded    []string // X-Forwarded-For
	trace        string   // traceparent, as sent
	encoded      bool     // its body is compressed or otherwise encoded
	length       int64    // as announced, -1 if it was not

	whole []byte    // the body, if it is at hand
	body  io.Reader // else where to read it
}

// requestOf takes what we need from a request that net/http has read.
func requestOf(r *http.Request) *request {
	req := &request{method: r.Method, path: r.URL.Path, remote: r.RemoteAddr, forwarded: r.Header["X-Forwarded-For"], length: r.ContentLength, body: r.Body}
	if h := r.Header["Traceparent"]; len(h) == 1 {
		req.trace = h[0]
	}
	if enc := r.Header["Content-Encoding"]; len(enc) > 0 {
		req.encoded = len(enc) > 1 || !strings.EqualFold(enc[0], "identity")
	}
	return req
}

// shape says what the beginning of a connection's bytes is.
type shape int

const (
	shapePart    shape = iota // the beginning of a usual request
	shapeWhole                // a usual request
	shapeUnusual              // anything else, for net/http to judge
)

var (
	postLine  = []byte("POST /")
	protoTail = []byte(" HTTP/1.1\r")
	headEnd   = []byte("\r\n\r\n")
)

// parseRequest reads a usual request from the beginning of b: POST, HTTP/1.1, a
// plain path, one Host, one Content-Length, and no header that would change how
// it is read. size is how much of b it takes. It is strict: what it does not know
// for certain is unusual, and never read in another way than net/http reads it.
func parseRequest(b []byte) (req request, size int, s shape) {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		if !bytes.HasPrefix(b, postLine[:min(len(b), len(postLine))]) {
			return req, 0, shapeUnusual
		}
		return req, 0, shapePart
	}
	line, rest := cutLine(b[:end+2])
	path, ok := bytes.CutSuffix(line, protoTail)
	if !ok || !bytes.HasPrefix(path, postLine) || !plainPath(path[5:]) {
		return req, 0, shapeUnusual
	}
	req.length = -1
	host := false
	for len(rest) > 0 {
		if line, rest = cutLine(rest); !usualHeader(&req, &host, line) {
			return req, 0, shapeUnusual
		}
	}
	if !host || req.length < 0 {
		return req, 0, shapeUnusual
	}
	head := end + len(headEnd)
	if int64(len(b)-head) < req.length {
		return req, 0, shapePart
	}
	size = head + int(req.length)
	req.method, req.path, req.whole = http.MethodPost, string(path[5:]), b[head:size]
	return req, size, shapeWhole
}

// cutLine returns the first line of b with its CR, and what follows its LF.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	return b[:i], b[i+1:]
}

// usualHeader takes in one header line, which ends with CR; false if it is not
// certain what it means.
func usualHeader(req *request, host *bool, line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || line[len(line)-1] != '\r' {
		return false
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:len(line)-1], " \t")
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	for _, c := range value {
		if c < ' ' || c > '~' {
			return false
		}
	}
	is := func(known string) bool { return len(name) == len(known) && strings.EqualFold(string(name), known) }
	switch {
	case is("Host"):
		first := !*host
		*host = true
		return first && plainHost(value)
	case is("Content-Length"):
		if req.length >= 0 || len(value) == 0 || len(value) > 6 {
			return false
		}
		req.length = 0
		for _, c := range value {
			if c < '0' || c > '9' {
				return false
			}
			req.length = 10*req.length + int64(c-'0')
		}
	case is("Connection"):
		return len(value) == 0 || strings.EqualFold(string(value), "keep-alive")
	case is("Traceparent"):
		if req.trace != "" {
			return false
		}
		req.trace = string(value)
	case is("X-Forwarded-For"):
		req.forwarded = append(req.forwarded, string(value))
	case is("Transfer-Encoding"), is("Content-Encoding"), is("Expect"), is("Upgrade"), is("Trailer"), is("Proxy-Connection"):
		return false
	}
	return true
}

// plainPath says whether a path needs no decoding and hides nothing.
func plainPath(path []byte) bool {
	for _, c := range path {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '/' || c == '-' || c == '_' || c == '.' || c == '~') {
			return false
		}
	}
	return !bytes.HasPrefix(path, []byte("//"))
}

// plainHost says whether a Host is a name or address with perhaps a port.
func plainHost(host []byte) bool {
	for _, c := range host {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == ':' || c == '[' || c == ']' || c == '_') {
			return false
		}
	}
	return len(host) > 0
}
