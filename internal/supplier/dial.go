package supplier

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/net/proxy"
)

// dialer makes connections, through the proxy that the environment names if it
// names one. Nothing of a request is written here: whatever fails was not sent.
type dialer struct {
	net.Dialer
	tls *tls.Config
}

// dial connects and shakes hands, each within the dialer's Timeout and both by end,
// which is the connection's deadline then.
func (d dialer) dial(ctx context.Context, to *target, end time.Time) (*conn, error) {
	d.Deadline = end
	where := to.addr
	if to.proxy != nil {
		port := map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[to.proxy.Scheme]
		if port == "" {
			return nil, errors.New("the proxy's scheme is none of http, https, socks5")
		}
		where = net.JoinHostPort(to.proxy.Hostname(), cmp.Or(to.proxy.Port(), port))
	}
	plain, err := d.DialContext(ctx, "tcp", where)
	if err != nil {
		return nil, err
	}
	sock, err := newSocket(plain)
	if err != nil {
		plain.Close()
		return nil, err
	}
	if shake := time.Now().Add(d.Timeout); shake.Before(end) {
		sock.SetDeadline(shake)
	} else {
		sock.SetDeadline(end)
	}
	stop := context.AfterFunc(ctx, sock.cut)
	over, err := d.shake(sock, to)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		sock.Close()
		return nil, err
	}
	sock.SetDeadline(end)
	return newConn(over, sock, to.key), nil
}

// shake makes of a socket what requests can be written to.
func (d dialer) shake(sock *socket, to *target) (over net.Conn, err error) {
	over = sock
	if p := to.proxy; p != nil {
		switch p.Scheme {
		case "https":
			if over, err = d.secure(over, p.Hostname()); err != nil {
				return nil, fmt.Errorf("proxy: %w", err)
			}
			fallthrough
		case "http":
			if to.tlsName != "" {
				err = tunnel(over, p, to.addr)
			}
		default:
			err = socks(over, p, to.addr)
		}
		if err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
	}
	if to.tlsName != "" {
		return d.secure(over, to.tlsName)
	}
	return over, nil
}

func (d dialer) secure(over net.Conn, name string) (net.Conn, error) {
	cfg := d.tls.Clone()
	cfg.ServerName = name
	c := tls.Client(over, cfg)
	return c, c.Handshake()
}

// tunnel asks an HTTP proxy for a way through to addr (RFC 9110, 9.3.6).
func tunnel(over net.Conn, p *url.URL, addr string) error {
	if _, err := io.WriteString(over, "CONNECT "+addr+" HTTP/1.1\r\nHost: "+addr+"\r\nUser-Agent: "+userAgent+"\r\n"+proxyAuthorization(p)+"\r\n"); err != nil {
		return err
	}
	br := bufio.NewReader(io.LimitReader(over, maxHeader))
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New("it answers a CONNECT with status " + strconv.Itoa(resp.StatusCode))
	}
	if br.Buffered() > 0 {
		return errors.New("something speaks before TLS was begun")
	}
	return nil
}

// socks asks a SOCKS5 proxy for a way through to addr.
func socks(over net.Conn, p *url.URL, addr string) error {
	var auth *proxy.Auth
	if p.User != nil {
		password, _ := p.User.Password()
		auth = &proxy.Auth{User: p.User.Username(), Password: password}
	}
	d, err := proxy.SOCKS5("tcp", p.Host, auth, dialed{over})
	if err != nil {
		return err
	}
	_, err = d.Dial("tcp", addr) // under over's own deadline; what comes back is over, once the proxy has agreed
	return err
}

// dialed is a dialer whose connection is there already.
type dialed struct{ net.Conn }

func (d dialed) Dial(string, string) (net.Conn, error) { return d.Conn, nil }
