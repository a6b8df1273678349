package supplier

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// target is where a URL leads, and what every request to it begins with.
type target struct {
	key     string // of its connections in the pool
	addr    string // host:port of the supplier
	tlsName string // the name that its certificate must have; empty without TLS
	proxy   *url.URL
	head    string // request line, Host, User-Agent
	length  bool   // a request without a body says so (RFC 9110, 8.6)
}

// userAgent is how we name ourselves.
const userAgent = "simline"

// newTarget makes a target of a method and a URL, or says why there is none. The
// errors do not tell the URL: it may hold more than a log should.
func newTarget(method, rawURL string, proxy func(*http.Request) (*url.URL, error)) (*target, error) {
	r, err := http.NewRequest(method, rawURL, nil) // which checks the method
	if err != nil {
		return nil, withoutURL(err)
	}
	u, line := r.URL, r.URL.RequestURI()
	t := &target{key: u.Scheme + "://" + r.Host, length: method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch}
	switch {
	case u.Scheme == "http":
		t.addr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80"))
	case u.Scheme == "https":
		t.addr, t.tlsName = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")), u.Hostname()
	default:
		return nil, errors.New("the URL is neither of http nor of https")
	}
	if u.Hostname() == "" || strings.ContainsFunc(r.Host, func(c rune) bool { return c == '%' || !isToken(c) && !strings.ContainsRune("[]:", c) }) {
		return nil, errors.New("the URL's host is empty or has characters that no host has")
	}
	if u.Opaque != "" || strings.ContainsFunc(line, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, errors.New("the URL's path or query is not escaped")
	}
	if t.proxy, err = proxy(r); err != nil {
		return nil, errors.New("the environment names a proxy that is none") // what it names may hold a password
	}
	authorization := ""
	if t.proxy != nil && t.tlsName == "" && t.proxy.Scheme != "socks5" && t.proxy.Scheme != "socks5h" {
		line = "http://" + r.Host + line // RFC 9112, 3.2.2; with TLS the proxy is asked for a tunnel
		authorization = proxyAuthorization(t.proxy)
	}
	t.head = r.Method + " " + line + " HTTP/1.1\r\nHost: " + r.Host + "\r\nUser-Agent: " + userAgent + "\r\n" + authorization
	return t, nil
}

// proxyAuthorization is the header line with the proxy's user and password, if it
// has any.
func proxyAuthorization(proxy *url.URL) string {
	if proxy.User == nil {
		return ""
	}
	password, _ := proxy.User.Password()
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)) + "\r\n"
}

// targets remembers the targets of the few URLs that nearly all calls go to.
type targets struct {
	proxy func(*http.Request) (*url.URL, error)

	mu    sync.RWMutex
	known map[[2]string]*target
}

const maxTargets = 256

func (t *targets) of(method, rawURL string) (*target, error) {
	key := [2]string{method, rawURL}
	t.mu.RLock()
	known := t.known[key]
	t.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	made, err := newTarget(method, rawURL, t.proxy)
	if err != nil || strings.Contains(rawURL, "?") { // a query is rarely the same again
		return made, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) < maxTargets {
		t.known[key] = made
	}
	return made, nil
}

// request appends a whole request to b. What a header may not hold is an error: a
// line break in it would begin another header, or another request.
func (t *target) request(b []byte, header http.Header, body []byte) ([]byte, error) {
	b = append(b, t.head...)
	names := make([]string, 0, 16)
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "" || strings.ContainsFunc(name, func(c rune) bool { return !isToken(c) }) {
			return nil, fmt.Errorf("%q is no name of a header", name)
		}
		if isOurs(name) {
			return nil, fmt.Errorf("header %s is not the caller's to set", name)
		}
		for _, value := range header[name] {
			if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
				return nil, fmt.Errorf("the value of header %s has a control character", name)
			}
			b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
		}
	}
	if len(body) > 0 || t.length {
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(len(body)), 10), "\r\n"...)
	}
	return append(append(b, "\r\n"...), body...), nil
}

// isOurs names the headers on which it hangs where a request ends and what becomes
// of the connection.
func isOurs(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection",
		"Proxy-Authorization", "Upgrade", "Te", "Trailer", "Expect":
		return true
	}
	return false
}

// isToken: RFC 9110, 5.6.2.
func isToken(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c > 0 && c < 0x7f && strings.ContainsRune("!#$%&'*+-.^_`|~", c)
}

// withoutURL drops the "parse https://…" that net/url begins with: a query holds an
// order's id, and a URL may hold more than a log should.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
