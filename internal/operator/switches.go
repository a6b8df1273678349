package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/orderer"
	"github.com/simline/simline/internal/wire"
)

// Switch is one switch as it stands.
type Switch struct {
	Name     string `json:"name"` // <supplier>.pause, <supplier>.spend_stop; the supplier may be "all"
	Supplier string `json:"supplier"`
	What     string `json:"what"` // pause or spend_stop
	orderer.Switch
}

// Suppliers are those that a switch may name.
var Suppliers = append([]string{orderer.SwitchAll}, order.Suppliers...)

// Switches reads them all.
func (o *Operator) Switches(ctx context.Context) ([]Switch, error) {
	kv, err := o.bus.JS.KeyValue(ctx, bus.BucketSwitches)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bus.BucketSwitches, err)
	}
	var out []Switch
	for _, supplier := range Suppliers {
		for _, what := range []string{orderer.SwitchPause, orderer.SwitchSpendStop} {
			s := Switch{Name: supplier + "." + what, Supplier: supplier, What: what}
			e, err := kv.Get(ctx, s.Name)
			switch {
			case err == nil:
				_ = json.Unmarshal(e.Value(), &s.Switch) // set by hand it may be no JSON; on or off counts
				s.On = orderer.SwitchIsOn(e.Value())
				s.At = cmp.Or(s.At, e.Created().UTC().Format(time.RFC3339))
			case !errors.Is(err, jetstream.ErrKeyNotFound):
				return nil, fmt.Errorf("switch %s: %w", s.Name, err)
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// SetSwitch turns a supplier's switch on or off, at once and for all replicas.
func (o *Operator) SetSwitch(ctx context.Context, who Who, supplier, what string, on bool) error {
	if !slices.Contains(Suppliers, supplier) {
		return invalid("no supplier %.40q; there are %v", supplier, Suppliers)
	}
	if what != orderer.SwitchPause && what != orderer.SwitchSpendStop {
		return invalid("no switch %.40q", what)
	}
	kv, err := o.bus.JS.KeyValue(ctx, bus.BucketSwitches)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bus.BucketSwitches, err)
	}
	name := supplier + "." + what
	if err := o.Audit(ctx, who, wire.ActSwitchSet, name, map[string]string{"on": strconv.FormatBool(on)}); err != nil {
		return err
	}
	value := compact(orderer.Switch{On: on, By: who.Actor, Reason: who.Reason, At: o.now().UTC().Format(time.RFC3339)})
	if _, err := kv.Put(ctx, name, value); err != nil {
		return fmt.Errorf("switch %s: %w", name, err)
	}
	// If we die here: it is set; who asked for it did not hear so.
	return nil
}
