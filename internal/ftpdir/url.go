package ftpdir

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
)

// Dir is one remote directory. It holds no connection; use Session or List.
type Dir struct {
	addr           string // host:port
	user, password string
	path           string // as given; empty is where the login lands
	tls            *tls.Config
	noEPSV         bool
	step           time.Duration
}

// DefaultStep bounds each step of a session: a dial, an answer, a read.
const DefaultStep = 30 * time.Second

// ErrURL: the URL cannot be used. The error never repeats it, for it holds a password.
var ErrURL = errors.New("not ftp://user:password@host:port/directory")

// Parse reads a directory's URL. The scheme is ftp, or ftps for explicit TLS
// (AUTH TLS on the ordinary port). The path is looked for where the login lands,
// then at the server's root. Options, as a query: ca=FILE (PEM of the
// authorities that may sign the server's certificate, instead of the system's),
// epsv=off (PASV only), step=DURATION (instead of DefaultStep).
func Parse(raw string) (*Dir, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Scheme != "ftp" && u.Scheme != "ftps" {
		return nil, ErrURL
	}
	d := &Dir{addr: u.Host, user: "anonymous", password: "anonymous", step: DefaultStep}
	if u.Port() == "" {
		d.addr = net.JoinHostPort(u.Hostname(), "21")
	}
	if u.User != nil {
		d.user = u.User.Username()
		d.password, _ = u.User.Password()
	}
	d.path = strings.TrimRight(u.Path, "/")
	for name, values := range u.Query() {
		if err := d.option(name, values[0], u); err != nil {
			return nil, fmt.Errorf("%w: option %s: %w", ErrURL, name, err)
		}
	}
	if u.Scheme == "ftps" {
		if d.tls == nil {
			d.tls = &tls.Config{}
		}
		d.tls.ServerName = u.Hostname()
		d.tls.MinVersion = tls.VersionTLS12
		// Servers commonly demand that data connections resume the control
		// connection's session.
		d.tls.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	}
	return d, nil
}

func (d *Dir) option(name, value string, u *url.URL) error {
	switch name {
	case "ca":
		if u.Scheme != "ftps" {
			return errors.New("needs ftps")
		}
		pem, err := os.ReadFile(value)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return errors.New("no certificate in the file")
		}
		d.tls = &tls.Config{RootCAs: pool}
	case "epsv":
		if value != "off" && value != "on" {
			return errors.New("is on or off")
		}
		d.noEPSV = value == "off"
	case "step":
		step, err := time.ParseDuration(value)
		if err != nil || step <= 0 {
			return errors.New("is not a duration above 0")
		}
		d.step = step
	default:
		return errors.New("is not known")
	}
	return nil
}

// String is the directory without its password, for logs.
func (d *Dir) String() string {
	scheme := "ftp"
	if d.tls != nil {
		scheme = "ftps"
	}
	return scheme + "://" + d.user + "@" + d.addr + "/" + strings.TrimPrefix(d.path, "/")
}
