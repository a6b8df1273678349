package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
)

// A copy that the server cuts off, since somebody's look at the stream ended just
// then, is begun again, and what stands in the file then is the second copy alone.
func TestACopyThatWasCutOffIsBegunAgain(t *testing.T) {
	server, b := bustest.Provisioned(t, bustest.Options{})
	ctx := t.Context()
	const messages = 4
	data := make([]byte, 900<<10) // several pieces, and nothing that packs
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(data); i++ {
		data[i] = byte(r.Uint32())
	}
	for range messages {
		if _, err := b.Publish(ctx, bus.NewMsg(bus.SubjectWebhook("eiotclub", "default", "FlowAlert"), "", data)); err != nil {
			t.Fatal(err)
		}
	}
	var cut, whole atomic.Int64 // as the server itself tells of each copy
	sub, err := server.Connect(server.URL()).NC.Subscribe("$JS.EVENT.ADVISORY.STREAM.SNAPSHOT_COMPLETE."+bus.StreamWebhooks, func(m *nats.Msg) {
		var a struct{ Error string }
		if err := json.Unmarshal(m.Data, &a); err != nil {
			t.Error(err)
		}
		if a.Error != "" {
			cut.Add(1)
		} else {
			whole.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	// looks at the stream begin and end until one of them has cut a copy off.
	looks := make(chan struct{})
	t.Cleanup(func() { <-looks })
	failed := func(err error) {
		if ctx.Err() == nil { // else the test has ended already
			t.Error(err)
		}
	}
	go func() {
		defer close(looks)
		other := server.Connect(server.URL())
		for cut.Load() == 0 {
			for i := range 20 {
				if _, err := other.JS.CreateConsumer(ctx, bus.StreamWebhooks, jetstream.ConsumerConfig{Name: fmt.Sprint("look", i), AckPolicy: jetstream.AckNonePolicy}); err != nil {
					failed(err)
					return
				}
			}
			for i := range 20 {
				if err := other.JS.DeleteConsumer(ctx, bus.StreamWebhooks, fmt.Sprint("look", 19-i)); err != nil {
					failed(err)
					return
				}
			}
		}
	}()
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	var dir string
	deadline := time.Now().Add(2 * time.Minute)
	for try := 0; cut.Load() == 0; try++ { // a copy may come through between two looks
		if time.Now().After(deadline) {
			t.Fatalf("no copy was cut off in %d", try)
		}
		dir = filepath.Join(t.TempDir(), fmt.Sprint("copy", try))
		if _, err := backupStream(cmd, b, dir, bus.StreamWebhooks); err != nil {
			t.Fatalf("after %d copies that were cut off: %v", cut.Load(), err)
		}
	}
	<-looks
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; whole.Load() == 0; <-tick.C { // it tells once the copy is over
		if time.Now().After(deadline) {
			t.Fatal("the server tells of no whole copy")
		}
	}
	copied, err := os.ReadFile(filepath.Join(dir, copyData))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := os.ReadFile(filepath.Join(dir, copyMeta))
	if err != nil {
		t.Fatal(err)
	}
	var about bus.Snapshot
	if err := json.Unmarshal(meta, &about); err != nil {
		t.Fatal(err)
	}
	empty := bustest.Start(t, bustest.Options{})
	to := empty.Connect(empty.URL())
	if err := to.Restore(ctx, bus.StreamWebhooks, about, bytes.NewReader(copied)); err != nil {
		t.Fatal(err)
	}
	s, err := to.JS.Stream(ctx, bus.StreamWebhooks)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != messages {
		t.Errorf("%d messages in the copy, want %d", n, messages)
	}
	last, err := s.GetMsg(ctx, messages)
	if err != nil || !bytes.Equal(last.Data, data) {
		t.Errorf("the last message is not as it was: %v", err)
	}
}
