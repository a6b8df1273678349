package bus_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/simline/simline/internal/bus"
)

// What was copied is, on an empty server, what it was: messages, their sequences,
// what a consumer has done, and the keys of buckets. The user of copies can do that
// and nothing else.
func TestBackupAndRestore(t *testing.T) {
	from, ctx := startSecured(t), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	publish := func(b *bus.Bus, subject string, data []byte) {
		t.Helper()
		_, err := b.Publish(ctx, bus.NewMsg(subject, "", data))
		must(err)
	}
	upstream, orderer := from.connect(t, bus.UserUpstream), from.connect(t, bus.UserOrderer)
	for i := range 5 {
		publish(upstream, bus.SubjectRequest("eiotclub", "package"), []byte("{}"))
		publish(orderer, bus.SubjectOrderEvent(fmt.Sprint("o", i), "eiotclub", "intent"), []byte("{}"))
		publish(orderer, bus.SubjectKV(bus.BucketOpenOrders, fmt.Sprint("o", i)), []byte("open"))
	}
	requests, err := orderer.JS.Consumer(ctx, bus.StreamOrders, bus.ConsumerOrderer("eiotclub"))
	must(err)
	first, err := requests.Next()
	must(err)
	must(first.DoubleAck(ctx))
	big := make([]byte, 900<<10) // several pieces, and nothing that packs
	for i, r := 0, rand.New(rand.NewPCG(1, 1)); i < len(big); i++ {
		big[i] = byte(r.Uint32())
	}
	publish(orderer, bus.SubjectOrderEvent("big", "eiotclub", "placed"), big)

	// Somebody watches a bucket meanwhile.
	watched, err := orderer.JS.KeyValue(ctx, bus.BucketSwitches)
	must(err)
	watch, err := watched.WatchAll(ctx)
	must(err)
	defer func() { must(watch.Stop()) }()

	copies := map[string]*bytes.Buffer{}
	about := map[string]bus.Snapshot{}
	b := from.connect(t, bus.UserBackup)
	for _, stream := range bus.BackedUp() {
		copies[stream] = &bytes.Buffer{}
		s, err := b.Backup(ctx, stream, copies[stream])
		must(err)
		about[stream] = s
	}
	if last := bus.BackedUp()[len(bus.BackedUp())-1]; last != bus.StreamOrderEvents {
		t.Errorf("%s is copied last, not the ledger", last)
	}
	// There is one already.
	if err := b.Restore(ctx, bus.StreamOrders, about[bus.StreamOrders], bytes.NewReader(copies[bus.StreamOrders].Bytes())); err == nil {
		t.Error("a stream was restored over one that stands")
	}

	to := startEmpty(t)
	b = to.connect(t, bus.UserBackup)
	half := copies[bus.StreamOrderEvents].Bytes()
	if err := b.Restore(ctx, bus.StreamOrderEvents, about[bus.StreamOrderEvents], bytes.NewReader(half[:len(half)/2])); err == nil {
		t.Error("half a copy became a stream")
	}
	for _, stream := range bus.BackedUp() {
		must(b.Restore(ctx, stream, about[stream], bytes.NewReader(copies[stream].Bytes())))
	}
	if s, err := to.connect(t, bus.UserOperator).JS.Stream(ctx, bus.StreamKV(bus.BucketSwitches)); err != nil {
		t.Error(err)
	} else if n := s.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("who watched a bucket was copied with it: %d consumers", n)
	}
	// Provisioning finds what it would have made.
	must(to.connect(t, bus.UserSetup).Provision(ctx, bus.DefaultSettings()))
	orderer = to.connect(t, bus.UserOrderer)
	last, found, err := orderer.Last(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory("big"))
	must(err)
	if !found || last.Sequence != 6 || !bytes.Equal(last.Data, big) {
		t.Errorf("the last event is %d with %d bytes", last.Sequence, len(last.Data))
	}
	cons, err := orderer.JS.Consumer(ctx, bus.StreamOrders, bus.ConsumerOrderer("eiotclub"))
	must(err)
	if info := cons.CachedInfo(); info.NumPending+uint64(info.NumAckPending) != 4 {
		t.Errorf("%d requests wait, want 4 of 5: one was done", info.NumPending+uint64(info.NumAckPending))
	}
	// What was done and lay there still is purged behind the restored floor.
	floor, err := orderer.Floor(ctx, bus.StreamOrders, bus.ConsumerOrderer("eiotclub"))
	must(err)
	for _, filter := range floor.Filters {
		must(orderer.Clear(ctx, bus.StreamOrders, filter, floor.AckFloor.Stream+1))
	}
	if got := lying(t, orderer, bus.StreamOrders); floor.Doubt != "" || len(got) != 4 || got[0] != 2 {
		t.Errorf("%v lie there, want 2 to 5; doubt %q", got, floor.Doubt)
	}
	kv, err := orderer.JS.KeyValue(ctx, bus.BucketOpenOrders)
	must(err)
	if e, err := kv.Get(ctx, "o3"); err != nil || string(e.Value()) != "open" {
		t.Errorf("the key o3 is %v, %v", e, err)
	}
}
