package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/wire"
)

// Errors that somebody branches on: exit codes and HTTP statuses follow them.
var (
	// ErrNotFound: there is no such order, dead letter or switch.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: what was asked for cannot be done as it was said.
	ErrInvalid = errors.New("invalid")
)

// kind is an error with a text of its own that counts as one of those above.
type kind struct {
	error
	is error
}

func (k kind) Unwrap() []error { return []error{k.error, k.is} }

func invalid(format string, args ...any) error { return kind{fmt.Errorf(format, args...), ErrInvalid} }
func notFound(format string, args ...any) error {
	return kind{fmt.Errorf(format, args...), ErrNotFound}
}

// Who is a person and a reason, for the audit.
type Who struct {
	Actor  string // 1 to 100 characters
	Reason string // 1 to 1,000 characters
}

// Operator sees and acts. It is safe for concurrent use.
type Operator struct {
	bus    *bus.Bus
	ledger *ledger.Ledger
	via    string
	now    func() time.Time
}

// New makes an operator on a connection; via is wire.ViaSimctl or wire.ViaConsole.
func New(b *bus.Bus, via string) (*Operator, error) {
	l, err := ledger.New(b, via)
	if err != nil {
		return nil, err
	}
	return &Operator{bus: b, ledger: l, via: via, now: time.Now}, nil
}

// Close ends it; the connection stays open.
func (o *Operator) Close() { o.ledger.Close() }

// Audit writes down what who is about to do. Nothing is done without it.
func (o *Operator) Audit(ctx context.Context, who Who, action, target string, detail map[string]string) error {
	a := wire.Audit{Action: action, Target: target, Actor: strings.TrimSpace(who.Actor), Reason: strings.TrimSpace(who.Reason),
		Via: o.via, At: o.now().UTC(), Detail: detail}
	if err := a.Validate(); err != nil {
		return invalid("audit: %w", err)
	}
	data, err := envelope(wire.TypeAudit, o.via, target, a.At, a)
	if err != nil {
		return err
	}
	if _, err := o.bus.Publish(ctx, bus.NewMsg(bus.SubjectAudit(action), uuid.NewString(), data)); err != nil {
		return fmt.Errorf("audit %s of %s, which was therefore not done: %w", action, target, err)
	}
	// If we die here: it is written that somebody was about to, and nothing was done.
	return nil
}

func envelope(typ, via, subject string, at time.Time, data any) ([]byte, error) {
	env, err := wire.NewEnvelope(typ, wire.Source(via), subject, "", at, data)
	if err != nil {
		return nil, err
	}
	return env.Marshal()
}

// compact is v as JSON; what we encode always can be.
func compact(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return b
}
