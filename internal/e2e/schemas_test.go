package e2e_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/e2e"
	"github.com/simline/simline/schemas/schematest"
)

// everyMessageFitsItsSchema reads back all that the workers published and holds
// it, dead letters' headers too, against the schemas that others rely on.
func everyMessageFitsItsSchema(t *testing.T, s *e2e.Stage) {
	t.Helper()
	read := map[string]int{}
	for _, stream := range bus.StreamNames() {
		str, err := s.Bus.JS.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		faults := 0
		for seq := max(str.CachedInfo().State.FirstSeq, 1); seq <= str.CachedInfo().State.LastSeq; seq++ {
			msg, err := str.GetMsg(t.Context(), seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue // of a work queue, and done
			}
			if err != nil {
				t.Fatalf("read %s: %v", stream, err)
			}
			read[stream]++
			err = schematest.CheckMessage(t, msg.Subject, msg.Data)
			if stream == bus.StreamDead {
				headers := map[string]string{}
				for name, values := range msg.Header {
					headers[name] = strings.Join(values, ",")
				}
				b, _ := json.Marshal(headers) // strings always can be
				err = schematest.Check(t, "dead.headers.v1", b)
			}
			if err != nil && faults < 3 {
				t.Errorf("%s: %v\n%s", msg.Subject, err, msg.Data)
				faults++
			}
		}
	}
	for _, stream := range []string{bus.StreamOrderEvents, bus.StreamWebhooks, bus.StreamCDREvents, bus.StreamFindings} {
		if read[stream] == 0 {
			t.Errorf("nothing on %s to hold against a schema", stream)
		}
	}
	for _, stream := range slices.Sorted(maps.Keys(read)) {
		t.Logf("%s: %d messages held against their schemas", stream, read[stream])
	}
}
