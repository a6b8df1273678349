package wire

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A notification's signature is over its bytes, so they must come out of an
// envelope as they went in, white space, escapes and number texts included.
func TestEnvelopeKeepsDataByteForByte(t *testing.T) {
	at := time.Date(2026, 1, 15, 0, 0, 0, 0, time.FixedZone("", 8*3600))
	for _, body := range []string{
		`{"data":"[{\"iccid\":\"1\"}]","id":"x"}`,
		"{ \"b\" : 1.0 ,\r\n\t\"a\":1e2, \"c\":0.10}",
		`{"a":"\u4e2d\/<>&\u003c","b":"中"}`,
		`{"n":12345678901234567890.1234567890}`,
		`{}`, `[ ]`, `null`, `"text"`, `0`,
	} {
		t.Run(body, func(t *testing.T) { roundTrip(t, at, []byte(body)) })
	}
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.MapOf(rapid.String(), rapid.OneOf(rapid.String().AsAny(), rapid.Float64().AsAny(), rapid.Bool().AsAny())).Draw(rt, "body")
		b, err := json.MarshalIndent(v, "", rapid.StringOf(rapid.RuneFrom([]rune(" \t\n"))).Draw(rt, "indent"))
		if err != nil {
			rt.Fatal(err)
		}
		if CheckJSON(b) == nil {
			roundTrip(rt, at, b)
		}
	})
}

func roundTrip(t rapid.TB, at time.Time, body []byte) {
	t.Helper()
	e, err := NewEnvelope(TypeWebhook("FlowAlert"), Source("ingest"), `a "quoted" <subject>`, "id-1", at, json.RawMessage(body))
	if err != nil {
		t.Fatal(err)
	}
	e.TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	b, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseEnvelope(b)
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if !bytes.Equal(got.Data, body) {
		t.Fatalf("data %q, went in as %q", got.Data, body)
	}
	if !got.Time.Equal(at) || got.Time.Location() != time.UTC {
		t.Errorf("time %v, wants %v in UTC", got.Time, at)
	}
	if got.ID != e.ID || got.Source != e.Source || got.Type != e.Type || got.Subject != e.Subject || got.TraceParent != e.TraceParent || got.SpecVersion != "1.0" {
		t.Errorf("attributes %+v, went in as %+v", got, e)
	}
}

func TestNewEnvelope(t *testing.T) {
	a, err := NewEnvelope(TypeFinding, Source("reconciler"), "", "", time.Now(), Finding{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewEnvelope(TypeFinding, Source("reconciler"), "", "", time.Now(), Finding{})
	if err != nil {
		t.Fatal(err)
	}
	if a.ID == "" || a.ID == b.ID {
		t.Errorf("ids %q and %q, wants two of their own", a.ID, b.ID)
	}
	if _, err := NewEnvelope(TypeFinding, Source("reconciler"), "", "", time.Now(), func() {}); err == nil {
		t.Error("data that is not JSON was accepted")
	}
	empty, err := (Envelope{SpecVersion: "1.0"}).Marshal()
	if err != nil || !json.Valid(empty) {
		t.Errorf("an envelope without data is written as %s (%v), which is not JSON", empty, err)
	}
}

func TestParseEnvelopeRefuses(t *testing.T) {
	for _, c := range []struct{ name, in, reason string }{
		{"no specversion", `{"id":"1","data":{}}`, ReasonSchema},
		{"old specversion", `{"specversion":"0.3","id":"1","data":{}}`, ReasonSchema},
		{"specversion is a number", `{"specversion":1.0,"data":{}}`, ReasonSchema},
		{"no data", `{"specversion":"1.0","id":"1"}`, ReasonSchema},
		{"data in base64", `{"specversion":"1.0","id":"1","data_base64":"e30="}`, ReasonSchema},
		{"data under another spelling", `{"specversion":"1.0","id":"1","Data":{}}`, ReasonSchema},
		{"time of day only", `{"specversion":"1.0","time":"10:00","data":{}}`, ReasonSchema},
		{"array", `[]`, ReasonSchema},
		{"data twice", `{"specversion":"1.0","data":{"order_id":"a"},"data":{"order_id":"b"}}`, ReasonMalformed},
		{"not JSON", `specversion: 1.0`, ReasonMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseEnvelope([]byte(c.in)); err == nil || ReasonOf(err) != c.reason {
				t.Errorf("%v, wants reason %s", err, c.reason)
			}
		})
	}
}

func TestReasonOfForeignError(t *testing.T) {
	if got := ReasonOf(json.Unmarshal([]byte("{"), &struct{}{})); got != ReasonMalformed {
		t.Errorf("%s, wants %s", got, ReasonMalformed)
	}
	if err := (&Error{Reason: ReasonStale, Text: "three days old"}); !strings.Contains(err.Error(), "three days old") {
		t.Errorf("%v does not say why", err)
	}
}
