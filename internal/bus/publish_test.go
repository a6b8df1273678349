package bus

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Only a number says that a message is stored: what has none, and names no error, is no
// answer that anybody can go by.
func TestReadAck(t *testing.T) {
	for text, want := range map[string]pubAck{
		`{"stream":"S","seq":7}`:                                 {Seq: 7},
		`{"stream":"S","seq":7,"duplicate": true}`:               {Seq: 7, Duplicate: true},
		`{"stream":"S","domain":"d","seq":18446744073709551615}`: {Seq: 1<<64 - 1},
		`{"stream":"S", "seq":9, "batch":"b", "count":3}`:        {Seq: 9, BatchSize: 3},
		`{"stream":"a\"b","seq":7}`:                              {Seq: 7},
	} {
		if got, err := readAck(&nats.Msg{Data: []byte(text)}); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{``, `nonsense`, `{}`, `{"stream":"S"}`, `{"stream":"S","seq":0}`, `{"stream":"S","seq":-1}`, `{"stream":"S","seq":"7"}`} {
		if got, err := readAck(&nats.Msg{Data: []byte(text)}); err == nil {
			t.Errorf("%s: taken for %+v", text, got)
		}
	}
	refused, err := readAck(&nats.Msg{Data: []byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"S","seq":0}`)})
	if err != nil || refused.Error == nil || refused.Error.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		t.Errorf("a refusal: %+v, %v", refused, err)
	}
	if _, err := readAck(&nats.Msg{Header: nats.Header{"Status": {"503"}}}); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("nobody there: %v", err)
	}
}
