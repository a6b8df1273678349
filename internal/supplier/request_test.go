package supplier

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A request is what net/http would have sent, but for the name of who sends it.
func TestRequestAsNetHTTPWritesIt(t *testing.T) {
	for name, c := range map[string]Call{
		"post":            {Method: "POST", URL: "https://supplier.test/api/v3/package/orderPackage", Header: http.Header{"Content-Type": {"application/json;charset=utf-8"}, "Accept": {"application/json"}}, Body: []byte(`{"a":1}`)},
		"post of nothing": {Method: "POST", URL: "http://supplier.test"},
		"put of nothing":  {Method: "PUT", URL: "http://supplier.test/"},
		"no method":       {URL: "http://supplier.test/"},
		"get":             {Method: "GET", URL: "http://supplier.test:8080/a/b?c=d&e=%20"},
		"no path":         {Method: "GET", URL: "http://supplier.test?c"},
		"default port":    {Method: "GET", URL: "http://supplier.test:80/"},
		"empty port":      {Method: "GET", URL: "http://supplier.test:/"},
		"IPv6":            {Method: "DELETE", URL: "http://[::1]:99/%2f/ä"},
		"fragment, user":  {Method: "GET", URL: "http://me:secret@supplier.test/a#b"},
		"own spelling":    {Method: "GET", URL: "http://supplier.test/", Header: http.Header{"RT-AccessCode": {"a"}, "X": {"b", "c"}, "Empty": {""}, "Tab": {"a\tb"}}},
	} {
		t.Run(name, func(t *testing.T) {
			to, err := newTarget(c.Method, c.URL, noProxy)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := to.request(nil, c.Header, c.Body)
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequest(c.Method, c.URL, bytes.NewReader(c.Body))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range c.Header {
				r.Header[k] = v
			}
			r.Header.Set("User-Agent", userAgent)
			var theirs bytes.Buffer
			if err := r.Write(&theirs); err != nil {
				t.Fatal(err)
			}
			read := func(b []byte) any {
				r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				return []any{r.Method, r.RequestURI, r.Host, r.Header, r.ContentLength, r.Close, string(body)}
			}
			if diff := cmp.Diff(read(theirs.Bytes()), read(ours)); diff != "" {
				t.Errorf("(-net/http +ours):\n%s", diff)
			}
			if name == "own spelling" && !strings.Contains(string(ours), "RT-AccessCode: a\r\n") {
				t.Errorf("a name is spelt anew: %s", ours)
			}
		})
	}
}

// What would make another request of it is refused before anything is sent, and the
// error tells neither the URL nor a value.
func TestRequestsThatAreNone(t *testing.T) {
	s := serveRaw(t, nil, answering(answer("x")))
	h := newHTTP(t, HTTPConfig{})
	const secret = "0123456789"
	for name, change := range map[string]func(*Call){
		"odd method":               func(c *Call) { c.Method = "PO ST" },
		"method with a line break": func(c *Call) { c.Method = "POST\r\nA: b" },
		"no URL":                   func(c *Call) { c.URL = "://" + secret },
		"no host":                  func(c *Call) { c.URL = "http:///" + secret },
		"opaque":                   func(c *Call) { c.URL = "http:" + secret },
		"a host with a space":      func(c *Call) { c.URL = "http://a b/" + secret },
		"a host with a letter":     func(c *Call) { c.URL = "http://ä.test/" + secret },
		"a zone":                   func(c *Call) { c.URL = "http://[fe80::1%25eth0]/" + secret },
		"port in words":            func(c *Call) { c.URL = "http://supplier.test:" + secret + "x/" },
		"another scheme":           func(c *Call) { c.URL = "ftp://supplier.test/" + secret },
		"line break in the path":   func(c *Call) { c.URL += "/" + secret + "\r\n" },
		"space in the query":       func(c *Call) { c.URL += "/?" + secret + " HTTP/1.1" },
		"letter in the query":      func(c *Call) { c.URL += "/?" + secret + "ä" },
		"bad escape":               func(c *Call) { c.URL += "/%zz" + secret },
		"value with CR LF":         func(c *Call) { c.Header = http.Header{"A": {secret + "\r\nB: c"}} },
		"value with LF":            func(c *Call) { c.Header = http.Header{"A": {secret + "\n"}} },
		"value with NUL":           func(c *Call) { c.Header = http.Header{"A": {secret + "\x00"}} },
		"value with DEL":           func(c *Call) { c.Header = http.Header{"A": {secret + "\x7f"}} },
		"name with CR LF":          func(c *Call) { c.Header = http.Header{"A\r\nB": {secret}} },
		"name with a colon":        func(c *Call) { c.Header = http.Header{"A:": {secret}} },
		"name with a space":        func(c *Call) { c.Header = http.Header{"A ": {secret}} },
		"name of letters beyond":   func(c *Call) { c.Header = http.Header{"Ä": {secret}} },
		"empty name":               func(c *Call) { c.Header = http.Header{"": {secret}} },
		"another host":             func(c *Call) { c.Header = http.Header{"host": {secret}} },
		"another length":           func(c *Call) { c.Header = http.Header{"CONTENT-LENGTH": {secret}} },
		"chunks":                   func(c *Call) { c.Header = http.Header{"Transfer-Encoding": {"chunked"}} },
		"close":                    func(c *Call) { c.Header = http.Header{"Connection": {"close"}} },
		"expect":                   func(c *Call) { c.Header = http.Header{"Expect": {"100-continue"}} },
	} {
		t.Run(name, func(t *testing.T) {
			c := post(s.url)
			change(&c)
			_, err := h.Do(t.Context(), c)
			e := asError(t, err)
			if e.Sent || e.Kind != Busy || e.Code != "(bad request)" {
				t.Errorf("got %+v", e)
			}
			if strings.Contains(e.Error(), secret) && name != "port in words" { // net/url tells the port
				t.Errorf("%q tells too much", e.Error())
			}
		})
	}
	if n := s.conns.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestAProxyThatIsNone(t *testing.T) {
	h := newHTTP(t, HTTPConfig{})
	h.targets.proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("http://me:secret@") }
	_, err := h.Do(t.Context(), post("http://supplier.test"))
	if e := asError(t, err); e.Sent || e.Code != "(bad request)" || strings.Contains(e.Error(), "secret") {
		t.Errorf("got %+v", e)
	}
}

// The memory of targets is bounded, and holds no URL with a query.
func TestTargets(t *testing.T) {
	h := newHTTP(t, HTTPConfig{})
	for i := range 2 * maxTargets {
		for _, query := range []string{"", "?a"} {
			url := "http://supplier.test/" + strings.Repeat("a", i) + query
			one, err := h.targets.of("GET", url)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := h.targets.of("GET", url)
			if same := one == again; same != (query == "" && i < maxTargets) || *one != *again {
				t.Fatalf("%d %q: %v and %v", i, query, one, again)
			}
		}
	}
}
