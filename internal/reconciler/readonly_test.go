package reconciler

import (
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// TestCannotSpend: nothing that a job holds of a supplier has a method that buys,
// refunds or changes anything, and the server refuses what would.
func TestCannotSpend(t *testing.T) {
	spends := regexp.MustCompile(`(?i)place|purchase|buy|refund|order$|sub$|reset|switch|transfer|send|set|add|create|delete`)
	account := reflect.TypeFor[Account]()
	asks := 0
	for i := range account.NumField() {
		f := account.Field(i).Type
		if f.Kind() != reflect.Interface {
			continue
		}
		for m := range f.Methods() {
			asks++
			if spends.MatchString(m.Name) {
				t.Errorf("%s.%s may spend", f, m.Name)
			}
		}
	}
	if asks < 10 {
		t.Fatalf("only %d methods looked at", asks)
	}
	p, ok := bus.Permissions(bus.UserReconciler)
	if !ok {
		t.Fatal("no permissions")
	}
	for _, s := range order.Suppliers {
		for _, subject := range []string{bus.SubjectRequest(s, order.ProductPackage), bus.SubjectCancel(s), bus.SubjectOrderEvent("o", s, "placed"), bus.SubjectWebhook(s, "default", "x")} {
			if slices.ContainsFunc(p.Publish, func(pattern string) bool { return server.SubjectsCollide(pattern, subject) }) {
				t.Errorf("its user may publish on %s", subject)
			}
		}
	}
}
