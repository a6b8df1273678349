package bus_test

import (
	"fmt"
	"testing"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
)

func TestRangeReadsInOrderAcrossBatches(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	const n = 2500 // over what the server gives at once
	for i := range n {
		if _, err := b.JS.PublishMsgAsync(bus.NewMsg(bus.SubjectFinding([]string{"a", "b"}[i%2]), "", fmt.Appendf(nil, "%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	<-b.JS.PublishAsyncComplete()
	all, more, err := b.Range(t.Context(), bus.StreamFindings, bus.SubjectFinding("*"), 0, n+1)
	if err != nil || more || len(all) != n {
		t.Fatalf("%d messages, more %t, %v", len(all), more, err)
	}
	for i, m := range all {
		if string(m.Data) != fmt.Sprint(i) || m.Sequence != uint64(i+1) || m.Time.IsZero() {
			t.Fatalf("message %d is %q at %d", i, m.Data, m.Sequence)
		}
	}
	some, more, err := b.Range(t.Context(), bus.StreamFindings, bus.SubjectFinding("b"), 101, 10)
	if err != nil || !more || len(some) != 10 || some[0].Sequence != 102 {
		t.Fatalf("%d messages from %v, more %t, %v", len(some), some, more, err)
	}
	none, more, err := b.Range(t.Context(), bus.StreamFindings, bus.SubjectFinding("c"), 1, 10)
	if err != nil || more || len(none) != 0 {
		t.Fatalf("%d messages on a subject without any, more %t, %v", len(none), more, err)
	}
}
