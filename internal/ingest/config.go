package ingest

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/supplier/eiotclub"
)

// Config is ingest's manual.
type Config struct {
	service.Settings
	service.AccountSettings

	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8080" desc:"where notifications are received"`
	TLSCert  string `env:"HTTP_TLS_CERT" desc:"path of a certificate chain (PEM); with HTTP_TLS_KEY it turns TLS on"`
	TLSKey   string `env:"HTTP_TLS_KEY" desc:"path of the certificate's key (PEM)"`
	// A sender's address is taken from X-Forwarded-For only if the connection
	// comes from one of these; otherwise anyone could name any address.
	TrustedProxies []string `env:"TRUSTED_PROXIES" desc:"addresses or networks of our own proxies, separated by commas"`

	// MaxAge: a well signed notification that is older (or as far in the future)
	// is kept apart for a person: it may be a replay.
	MaxAge time.Duration `env:"WEBHOOK_MAX_AGE" envDefault:"72h" desc:"older notifications go to dead.v1.WEBHOOKS"`

	// Together these keep every answer under a second.
	PublishTimeout time.Duration `env:"INGEST_PUBLISH_TIMEOUT" envDefault:"400ms" desc:"how long NATS may take to store a notification before the spool does"`
	QueueTimeout   time.Duration `env:"INGEST_QUEUE_TIMEOUT" envDefault:"200ms" desc:"how long a notification may wait for its turn before it is answered 503"`

	// More in flight only lengthens the queue inside NATS; each costs its body.
	MaxInFlight int `env:"INGEST_MAX_IN_FLIGHT" envDefault:"1024" desc:"notifications being stored at once"`
	MaxConns    int `env:"INGEST_MAX_CONNS" envDefault:"12000" desc:"open connections; above it those idle longest are closed"`
	// BodyMemory bounds what large bodies take while they are being received; small
	// ones (8 KiB) are not counted, so that they get through at any time.
	BodyMemory int64 `env:"INGEST_BODY_MEMORY" envDefault:"33554432" desc:"bytes of memory for bodies above 8 KiB"`

	// The spool takes what NATS cannot. Empty means none: then an outage is
	// answered with 503 and the supplier may never send it again.
	SpoolDir string `env:"SPOOL_DIR" desc:"directory of the spool, on a disk that outlives the process"`
	SpoolMax int64  `env:"SPOOL_MAX_BYTES" envDefault:"1073741824" desc:"bytes of notifications that the spool may hold"`
}

// slowestAnswer is how long a notification that was received whole may wait at most: for
// its turn, for NATS, and for the spool. A share of PublishTimeout comes on top.
const slowestAnswer = 900 * time.Millisecond

// Validate reports every fault of the configuration.
func (c *Config) Validate() error {
	faults := []error{c.Settings.Validate()}
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	accounts, err := c.accounts()
	if err != nil {
		faults = append(faults, err)
	} else if len(accounts) == 0 {
		bad("no account to receive notifications for: EIOTCLUB_APP_SECRET or ACCOUNTS_FILE")
	}
	if _, err := parseNetworks(c.TrustedProxies); err != nil {
		bad("TRUSTED_PROXIES: %w", err)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		bad("HTTP_TLS_CERT and HTTP_TLS_KEY belong together")
	}
	faults = append(faults, service.CheckAddr("HTTP_ADDR", c.HTTPAddr))
	if c.MaxAge <= 0 {
		bad("WEBHOOK_MAX_AGE %s is not above 0", c.MaxAge)
	}
	if c.PublishTimeout <= 0 || c.QueueTimeout <= 0 || c.PublishTimeout+c.QueueTimeout > slowestAnswer-spoolWait {
		bad("INGEST_PUBLISH_TIMEOUT %s and INGEST_QUEUE_TIMEOUT %s: each above 0, together at most %s", c.PublishTimeout, c.QueueTimeout, slowestAnswer-spoolWait)
	}
	if c.MaxInFlight < 1 || c.MaxConns < 1 {
		bad("INGEST_MAX_IN_FLIGHT %d and INGEST_MAX_CONNS %d: each at least 1", c.MaxInFlight, c.MaxConns)
	}
	if c.BodyMemory < MaxBody {
		bad("INGEST_BODY_MEMORY %d is under %d, the largest body", c.BodyMemory, MaxBody)
	}
	if c.SpoolMax < MaxBody {
		bad("SPOOL_MAX_BYTES %d is under %d, the largest body", c.SpoolMax, MaxBody)
	}
	return errors.Join(faults...)
}

// account is what is known of one receiver of notifications.
type account struct {
	supplier, name string
	verifier       *eiotclub.Verifier
	pathSecret     string            // must follow the account in the path, if set
	senders        []netip.Prefix    // the only addresses that may send, if any are named
	routes         map[string]*route // of the documented events
}

// accounts lists the receivers by "<supplier>/<account>". Only EIOTCLUB sends
// notifications.
func (c *Config) accounts() (map[string]*account, error) {
	all, err := c.AccountSettings.Load()
	out := map[string]*account{}
	faults := []error{err}
	for name, a := range all.EIOTCLUB {
		if len(a.AppSecrets) == 0 {
			continue // an account that only buys
		}
		key := supplierEIOTCLUB + "/" + name
		v, err := eiotclub.NewVerifier(a.AppSecrets...)
		if err != nil {
			faults = append(faults, fmt.Errorf("account %s: %w", key, err))
			continue
		}
		senders, err := parseNetworks(a.WebhookIPs)
		if err != nil {
			faults = append(faults, fmt.Errorf("account %s: webhook_ips: %w", key, err))
		}
		out[key] = &account{supplier: supplierEIOTCLUB, name: name, verifier: v, pathSecret: a.WebhookPathSecret, senders: senders}
	}
	return out, errors.Join(faults...)
}

func parseNetworks(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		if s == "" {
			continue
		}
		if addr, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network", s)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
