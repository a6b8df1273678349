package bus

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config is how a worker reaches NATS.
type Config struct {
	URL   string // nats://host:port, several separated by commas
	Creds string // path of a .creds file, or of an nkey seed; empty for none
	Name  string // the worker's name, shown in the server's connection list; replies come to inboxes under it
	Log   *slog.Logger
	// Patient: begin even if no server can be reached, and go on trying.
	Patient bool
}

// Bus is one connection and its JetStream context.
type Bus struct {
	NC *nats.Conn
	JS jetstream.JetStream

	log    *slog.Logger
	closed chan struct{}
}

// PublishTimeout bounds the wait for a PubAck. A publish that was not answered
// by then is unknown, never failed.
const PublishTimeout = 5 * time.Second

// Connect opens the connection. It reconnects for ever, but never buffers
// what is published while it is away: a publish that was given up must not be
// stored later behind its caller's back.
func Connect(cfg Config) (*Bus, error) {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Bus{log: log, closed: make(chan struct{})}
	opts := []nats.Option{
		nats.Name(cfg.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.Timeout(5 * time.Second),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(3),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("nats: disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("nats: reconnected", "server", nc.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if sub != nil {
				log.Warn("nats: asynchronous error", "subject", sub.Subject, "error", err)
				return
			}
			log.Warn("nats: asynchronous error", "error", err)
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
	}
	if cfg.Name != "" {
		// Inboxes that the permissions of other users do not reach.
		opts = append(opts, nats.CustomInboxPrefix(inboxPrefix(cfg.Name)))
	}
	if cfg.Creds != "" {
		who, err := credentials(cfg.Creds)
		if err != nil {
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		opts = append(opts, who)
	}
	if cfg.Patient {
		// One that accepts and then says nothing must not hold up the start for long.
		opts = append(opts, nats.RetryOnFailedConnect(true), nats.Timeout(time.Second))
	}
	nc, err := nats.Connect(cfg.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(PublishTimeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("JetStream context: %w", err)
	}
	b.NC, b.JS = nc, js
	return b, nil
}

// credentials reads who we are: a .creds file holds a signed user and its seed, a
// file that begins with the seed itself names a user that the server knows.
func credentials(path string) (nats.Option, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("NATS_CREDS: %w", err)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("SU")) {
		return nats.UserCredentials(path), nil
	}
	who, err := nats.NkeyOptionFromSeed(path)
	if err != nil {
		return nil, fmt.Errorf("NATS_CREDS: nkey seed: %w", err)
	}
	return who, nil
}

// ErrAway: there is no connection to NATS at this moment.
var ErrAway = errors.New("NATS is away")

// Ready is nil while the connection stands.
func (b *Bus) Ready() error {
	if !b.NC.IsConnected() {
		return fmt.Errorf("%w: %s", ErrAway, b.NC.Status())
	}
	return nil
}

// Close flushes what was written, closes the connection and waits for it.
func (b *Bus) Close() {
	if b.NC.IsConnected() {
		_ = b.NC.FlushTimeout(time.Second) // best effort: acks not flushed lead to redelivery, which is safe
	}
	b.NC.Close()
	<-b.closed
}
