package orderer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// statusAtOnce bounds the questions in work: more wait with the client library, which
// drops what no memory should hold.
const statusAtOnce = 64

// serveStatus answers on orders.v1.status with an order's last event as it is
// stored, or {"found": false}. All replicas share the load.
func (w *Worker) serveStatus() (stop func(), err error) {
	svc, err := micro.AddService(w.bus.NC, micro.Config{Name: "orders", Version: "1.0.0", Description: "the last event of an order"})
	if err != nil {
		return nil, fmt.Errorf("status service: %w", err)
	}
	slots := make(chan struct{}, statusAtOnce)
	handler := micro.HandlerFunc(func(r micro.Request) {
		var q struct {
			OrderID string `json:"order_id"`
		}
		if err := json.Unmarshal(r.Data(), &q); err != nil || !order.ValidID(q.OrderID) {
			_ = r.Error("400", `want {"order_id": "…"} with an id of 1 to 32 of A-Z, a-z, 0-9, _ and -`, nil)
			return
		}
		to := r.Reply() // all that a goroutine may use of it: micro looks at the rest once we return
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			answer := w.status(q.OrderID)
			answer.Subject = to
			_ = w.bus.NC.PublishMsg(answer) // who asked asks again
		}()
	})
	if err := svc.AddEndpoint("status", handler, micro.WithEndpointSubject(bus.SubjectStatus)); err != nil {
		return nil, fmt.Errorf("status service: %w", err)
	}
	return func() { _ = svc.Stop() }, nil // fails only if the connection is gone
}

// status is the answer to a question for an order.
func (w *Worker) status(orderID string) *nats.Msg {
	ctx, cancel := context.WithTimeout(w.work, bus.PublishTimeout)
	defer cancel()
	event, found, err := w.ledger.Raw(ctx, orderID)
	switch {
	case err != nil:
		w.failed("status", err)
		return &nats.Msg{Header: nats.Header{micro.ErrorCodeHeader: {"503"}, micro.ErrorHeader: {"the ledger cannot be read now"}}}
	case !found:
		return &nats.Msg{Data: []byte(`{"found": false}`)}
	}
	return &nats.Msg{Data: event}
}
