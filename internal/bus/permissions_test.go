package bus_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nkeys"

	"github.com/simline/simline/internal/bus"
)

// secured is a server with deploy/nats/users.conf, as rendered, and everybody's
// seed.
type secured struct {
	url   string
	seeds map[string]string // path by user
}

func startSecured(t *testing.T) secured {
	t.Helper()
	s := startEmpty(t)
	if err := s.connect(t, bus.UserSetup).Provision(t.Context(), bus.DefaultSettings()); err != nil {
		t.Fatalf("setup may not provision: %v", err)
	}
	return s
}

// startEmpty is startSecured without streams.
func startEmpty(t *testing.T) secured {
	t.Helper()
	dir := t.TempDir()
	s := secured{seeds: map[string]string{}}
	for _, user := range append([]string{"sys"}, bus.Users...) {
		kp, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		public, err := kp.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := kp.Seed()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("NATS_NKEY_"+strings.ToUpper(user), public)
		s.seeds[user] = filepath.Join(dir, user+".nk")
		if err := os.WriteFile(s.seeds[user], append(seed, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "users.conf"), bus.UsersConf())
	conf := filepath.Join(dir, "nats.conf")
	write(t, conf, fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream { store_dir: %q }\ninclude ./users.conf\n", dir))
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatalf("users.conf: %v", err)
	}
	opts.NoLog, opts.NoSigs = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	s.url = srv.ClientURL()
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// connect is what a worker does.
func (s secured) connect(t *testing.T, user string) *bus.Bus {
	t.Helper()
	name := user
	if user == bus.UserSetup || user == bus.UserOperator || user == bus.UserBackup {
		name = "simctl"
	}
	b, err := bus.Connect(bus.Config{URL: s.url, Creds: s.seeds[user], Name: name})
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	t.Cleanup(b.Close)
	return b
}

// universe is every kind of thing that a connection could do, as "pub SUBJECT" or
// "sub SUBJECT".
func universe() []string {
	var out []string
	pub := func(subjects ...string) {
		for _, s := range subjects {
			out = append(out, "pub "+s)
		}
	}
	pub("orders.v1.request.eiotclub.package", "orders.v1.cancel.esimfly", "orders.v1.event.o1.eiotclub.placed", "orders.v1.evidence.eiotclub.o1",
		"webhooks.v1.eiotclub.default.x", "webhooks.v1.esimfly.default.x", "cdr.v1.file.default", "cdr.v1.loaded.default", "cdr.v1.gap.default",
		"recon.v1.finding.order_state", "audit.v1.order_resolve", "audit.v1.streams_restore", "tasks.v1.track.eiotclub", "tasks.v1.ended.eiotclub", "orders.v1.status", "_INBOX.ingest.x", "$SYS.REQ.SERVER.PING", "other")
	topo := bus.NewTopology(bus.DefaultSettings())
	streams := bus.StreamNames()
	for _, s := range streams {
		pub("dead.v1." + s)
	}
	for _, b := range topo.Buckets {
		pub("$KV." + b.Bucket + ".k")
		pub("$KV." + b.Bucket + ".card.k")
		streams = append(streams, "KV_"+b.Bucket)
	}
	for _, s := range streams {
		for _, call := range []string{"STREAM.INFO.%s", "STREAM.CREATE.%s", "STREAM.UPDATE.%s", "STREAM.DELETE.%s", "STREAM.PURGE.%s", "STREAM.MSG.DELETE.%s", "STREAM.MSG.GET.%s",
			"DIRECT.GET.%s", "CONSUMER.CREATE.%s.mine", "CONSUMER.CREATE.%s.mine.x.y", "CONSUMER.DURABLE.CREATE.%s.mine", "CONSUMER.DELETE.%s.mine", "CONSUMER.LIST.%s", "STREAM.LEADER.STEPDOWN.%s", "STREAM.SNAPSHOT.%s", "STREAM.RESTORE.%s"} {
			pub("$JS.API." + fmt.Sprintf(call, s))
		}
		for _, c := range topo.Consumers[s] {
			for _, call := range []string{"INFO", "MSG.NEXT", "DELETE", "CREATE", "RESET"} {
				pub("$JS.API.CONSUMER." + call + "." + s + "." + c.Durable)
			}
			pub("$JS.API.CONSUMER.CREATE."+s+"."+c.Durable+".x.y", "$JS.ACK."+s+"."+c.Durable+".1.2.3.4.5")
		}
	}
	pub("$KV.leases.reconciler.records", "$KV.leases.archiver-FINDINGS")
	pub("$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.ACCOUNT.PURGE.SIMLINE")
	for _, s := range []string{">", "_INBOX.>", "_INBOX.ingest.>", "_INBOX.orderer.>", "_INBOX.upstream.>", "_INBOX.simctl.>", "_INBOX.console.>", "orders.v1.>", "orders.v1.event.*.*.*", "orders.v1.request.>", "orders.v1.status",
		"webhooks.v1.>", "cdr.v1.>", "recon.v1.>", "tasks.v1.ended.*", "dead.v1.>", "audit.v1.>", "$KV.>", "$JS.>", "$SYS.>", "$SRV.PING", "$SRV.INFO.orders.x", "$JS.EVENT.>", "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.ORDERS.x", "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVIDENCE.x", "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.CDR.x"} {
		out = append(out, "sub "+s)
	}
	return out
}

// What each may do of the universe, said here once more by hand: "api.S" stands
// for the requests that reading single messages of a stream needs, "follow.S" for
// those of a consumer of one's own, "bind.S.C" for those of a durable.
var mayDo = map[string][]string{
	bus.UserIngest: {"pub webhooks.v1.eiotclub.default.x", "pub dead.v1.WEBHOOKS", "info.WEBHOOKS", "info.DEAD", "sub _INBOX.ingest.>"},
	bus.UserOrderer: {"bind.ORDERS.orderer-eiotclub", "bind.ORDERS.orderer-esimfly", "bind.EVIDENCE.orderer-evidence-eiotclub", "bind.EVIDENCE.orderer-evidence-esimfly",
		"bind.WEBHOOKS.orderer-webhooks-eiotclub", "bind.WEBHOOKS.orderer-webhooks-esimfly", "pub orders.v1.event.o1.eiotclub.placed", "api.ORDER_EVENTS",
		"pub dead.v1.ORDERS", "pub dead.v1.EVIDENCE", "pub dead.v1.WEBHOOKS", "pub dead.v1.ORDER_EVENTS", "info.DEAD",
		"write.open_orders", "write.budgets", "pub $KV.leases.card.k", "api.ORDERS", "api.EVIDENCE", "pub $JS.API.STREAM.MSG.DELETE.ORDERS", "pub $JS.API.STREAM.MSG.DELETE.EVIDENCE", "pub $JS.API.STREAM.PURGE.ORDERS",
		"sub $JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.ORDERS.x", "sub $JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVIDENCE.x",
		"read.open_orders", "read.budgets", "read.switches", "read.leases", "sub orders.v1.status", "sub $SRV.PING", "sub $SRV.INFO.orders.x", "sub _INBOX.orderer.>", "pub _INBOX.ingest.x"},
	bus.UserCDRPull: {"bind.CDR.cdrpull", "pub cdr.v1.file.default", "pub cdr.v1.loaded.default", "pub cdr.v1.gap.default", "pub dead.v1.CDR", "info.CDR_EVENTS", "info.DEAD",
		"write.cdr_files", "pub $KV.leases.k", "pub $KV.leases.archiver-FINDINGS", "read.cdr_files", "read.leases", "read.switches"},
	bus.UserReconciler: {"bind.TASKS.reconciler-tasks", "pub recon.v1.finding.order_state", "pub orders.v1.evidence.eiotclub.o1", "pub tasks.v1.ended.eiotclub", "pub cdr.v1.file.default", "pub dead.v1.TASKS",
		"api.ORDER_EVENTS", "api.DEAD", "follow.ORDER_EVENTS", "follow.WEBHOOKS", "follow.CDR_EVENTS", "follow.DEAD", "info.CDR", "info.EVIDENCE", "info.FINDINGS", "info.DEAD",
		"pub $KV.leases.reconciler.records", "write.tasks", "write.findings", "write.recon_periods", "write.budgets", "read.budgets",
		"read.leases", "read.tasks", "read.findings", "read.recon_periods", "read.open_orders", "read.switches"},
	bus.UserArchiver: {"pub $JS.API.STREAM.MSG.GET.ORDER_EVENTS", "pub $JS.API.STREAM.MSG.GET.WEBHOOKS", "pub $JS.API.STREAM.MSG.GET.FINDINGS", "pub $JS.API.STREAM.MSG.GET.CDR_EVENTS", "pub $JS.API.STREAM.MSG.GET.AUDIT",
		"pub $JS.API.CONSUMER.RESET.ORDER_EVENTS.archiver-ORDER_EVENTS", "pub $JS.API.CONSUMER.RESET.WEBHOOKS.archiver-WEBHOOKS",
		"pub $JS.API.CONSUMER.RESET.FINDINGS.archiver-FINDINGS", "pub $JS.API.CONSUMER.RESET.CDR_EVENTS.archiver-CDR_EVENTS", "pub $JS.API.CONSUMER.RESET.AUDIT.archiver-AUDIT", "bind.AUDIT.archiver-AUDIT", "pub dead.v1.AUDIT", "bind.ORDER_EVENTS.archiver-ORDER_EVENTS", "bind.WEBHOOKS.archiver-WEBHOOKS",
		"bind.FINDINGS.archiver-FINDINGS", "bind.CDR_EVENTS.archiver-CDR_EVENTS", "pub dead.v1.ORDER_EVENTS", "pub dead.v1.WEBHOOKS", "pub dead.v1.FINDINGS", "pub dead.v1.CDR_EVENTS", "info.DEAD",
		"pub $KV.leases.archiver-FINDINGS", "read.leases"},
	bus.UserSetup: {"make.*", "pub $JS.API.INFO", "sub _INBOX.simctl.>"},
	bus.UserOperator: {"readall", "pub orders.v1.request.eiotclub.package", "pub orders.v1.cancel.esimfly", "pub orders.v1.evidence.eiotclub.o1", "pub webhooks.v1.eiotclub.default.x", "pub webhooks.v1.esimfly.default.x",
		"pub cdr.v1.file.default", "pub tasks.v1.track.eiotclub", "pub orders.v1.status", "write.switches", "write.findings",
		"pub recon.v1.finding.order_state", "pub audit.v1.order_resolve", "pub audit.v1.streams_restore", "sub _INBOX.simctl.>",
		"pub $JS.API.INFO", "pub $JS.API.STREAM.LIST", "pub $JS.API.STREAM.NAMES", "pub $JS.API.STREAM.MSG.DELETE.DEAD"},
	bus.UserConsole: {"seeall", "api.ORDER_EVENTS", "api.DEAD", "api.AUDIT", "read.open_orders", "read.findings", "read.switches", "read.recon_periods",
		"pub audit.v1.order_resolve", "pub audit.v1.streams_restore", "sub _INBOX.console.>"},
	bus.UserBackup: {"copyall", "api.ORDER_EVENTS", "follow.ORDER_EVENTS", "read.open_orders", "write.open_orders", "pub audit.v1.streams_restore", "sub _INBOX.simctl.>"},
	bus.UserUpstream: {"pub orders.v1.request.eiotclub.package", "pub orders.v1.cancel.esimfly", "pub tasks.v1.track.eiotclub", "pub orders.v1.status",
		"sub orders.v1.event.*.*.*", "sub tasks.v1.ended.*", "sub _INBOX.upstream.>"},
}

// expand turns the shorthand of mayDo into actions of the universe.
func expand(lines []string) map[string]bool {
	out := map[string]bool{}
	var all []string
	topo := bus.NewTopology(bus.DefaultSettings())
	all = append(all, bus.StreamNames()...)
	for _, b := range topo.Buckets {
		all = append(all, "KV_"+b.Bucket)
	}
	api := func(format, s string) { out["pub $JS.API."+fmt.Sprintf(format, s)] = true }
	single := func(s string) { api("STREAM.INFO.%s", s); api("STREAM.MSG.GET.%s", s); api("DIRECT.GET.%s", s) }
	follow := func(s string) {
		for _, f := range []string{"STREAM.INFO.%s", "CONSUMER.CREATE.%s.mine", "CONSUMER.CREATE.%s.mine.x.y", "CONSUMER.DELETE.%s.mine"} {
			api(f, s)
		}
		for _, c := range topo.Consumers[s] {
			api("CONSUMER.INFO.%s."+c.Durable, s) // to look at a durable harms nobody
		}
	}
	for _, line := range lines {
		kind, rest, _ := strings.Cut(line, ".")
		switch kind {
		case "info":
			api("STREAM.INFO.%s", rest)
		case "api":
			single(rest)
		case "follow":
			follow(rest)
		case "read":
			single("KV_" + rest)
			follow("KV_" + rest)
		case "write":
			out["pub $KV."+rest+".k"], out["pub $KV."+rest+".card.k"] = true, true
		case "bind":
			stream, durable, _ := strings.Cut(rest, ".")
			api("STREAM.INFO.%s", stream)
			for _, call := range []string{"INFO", "MSG.NEXT"} {
				out["pub $JS.API.CONSUMER."+call+"."+stream+"."+durable] = true
			}
			out["pub $JS.ACK."+stream+"."+durable+".1.2.3.4.5"] = true
		case "make":
			for _, s := range all {
				for _, f := range []string{"STREAM.INFO.%s", "STREAM.CREATE.%s", "STREAM.UPDATE.%s", "CONSUMER.CREATE.%s.mine", "CONSUMER.CREATE.%s.mine.x.y"} {
					api(f, s)
				}
				for _, c := range topo.Consumers[s] {
					api("CONSUMER.CREATE.%s."+c.Durable, s)
					api("CONSUMER.CREATE.%s."+c.Durable+".x.y", s)
				}
			}
		case "copyall":
			for _, s := range all {
				for _, f := range []string{"STREAM.INFO.%s", "STREAM.SNAPSHOT.%s", "STREAM.RESTORE.%s"} {
					api(f, s)
				}
			}
		case "seeall":
			for _, s := range bus.StreamNames() {
				api("STREAM.INFO.%s", s)
				for _, c := range topo.Consumers[s] {
					api("CONSUMER.INFO.%s."+c.Durable, s)
				}
			}
		case "readall":
			for _, s := range all {
				single(s)
				follow(s)
				api("CONSUMER.LIST.%s", s)
			}
		default:
			out[line] = true
		}
	}
	return out
}

// Every action that is possible, tried by every user on a real server: those that
// it needs pass, all others are refused.
func TestPermissionsAreAsSaid(t *testing.T) {
	s := startSecured(t)
	all := universe()
	for _, user := range bus.Users {
		for action := range expand(mayDo[user]) {
			if !slices.Contains(all, action) {
				t.Errorf("%s: %q is not an action that is tried", user, action)
			}
		}
	}
	for _, user := range bus.Users {
		t.Run(user, func(t *testing.T) {
			want := expand(mayDo[user])
			for action, allowed := range s.try(t, user, all) {
				if allowed != want[action] {
					t.Errorf("%s: %s: allowed is %v, want %v", user, action, allowed, want[action])
				}
			}
		})
	}
}

// try does each action and tells which the server let pass.
func (s secured) try(t *testing.T, user string, actions []string) map[string]bool {
	t.Helper()
	var mu sync.Mutex
	var refused []string
	who, err := nats.NkeyOptionFromSeed(s.seeds[user])
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.url, who, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		mu.Lock()
		defer mu.Unlock()
		refused = append(refused, strings.ToLower(err.Error()))
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, action := range actions {
		verb, subject, _ := strings.Cut(action, " ")
		if verb == "sub" {
			_, err = nc.SubscribeSync(subject)
		} else {
			// What is refused by its content is allowed by its subject.
			err = nc.PublishRequest(subject, "nowhere", []byte("{"))
		}
		if err != nil {
			t.Fatalf("%s: %v", action, err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	// Errors come before the answer to the flush, and are handled one after the
	// other: when the callback queue has run dry, all are there.
	end := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(end) })
	nc.Close()
	<-end
	mu.Lock()
	defer mu.Unlock()
	out := map[string]bool{}
	for _, action := range actions {
		verb, subject, _ := strings.Cut(action, " ")
		what := fmt.Sprintf("permissions violation for publish to %q", subject)
		if verb == "sub" {
			what = fmt.Sprintf("permissions violation for subscription to %q", subject)
		}
		out[action] = !slices.ContainsFunc(refused, func(e string) bool { return strings.Contains(e, strings.ToLower(what)) })
	}
	return out
}

// Each user does, through the bus, what its worker does all day.
func TestUsersCanDoTheirWork(t *testing.T) {
	s := startSecured(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store := func(b *bus.Bus, subject string) error {
		_, err := b.Publish(ctx, bus.NewMsg(subject, "", []byte(`{}`)))
		return err
	}
	// takeOne reads one message of a durable and acknowledges it.
	takeOne := func(b *bus.Bus, stream, durable string) error {
		c, err := b.JS.Consumer(ctx, stream, durable)
		if err != nil {
			return err
		}
		msg, err := c.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			return err
		}
		if err := msg.InProgress(); err != nil {
			return err
		}
		return msg.DoubleAck(ctx)
	}
	readKey := func(b *bus.Bus, bucket, key string) error {
		kv, err := b.JS.KeyValue(ctx, bucket)
		if err != nil {
			return err
		}
		if _, err := kv.Get(ctx, key); err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return err
		}
		_, err = kv.Keys(ctx) // a watch beneath
		if errors.Is(err, jetstream.ErrNoKeysFound) {
			return nil
		}
		return err
	}
	changeKey := func(b *bus.Bus, bucket, key string) error {
		kv, err := b.JS.KeyValue(ctx, bucket)
		if err != nil {
			return err
		}
		rev, err := kv.Create(ctx, key, []byte("1"))
		if err != nil {
			return err
		}
		if rev, err = kv.Update(ctx, key, []byte("2"), rev); err != nil {
			return err
		}
		return kv.Purge(ctx, key, jetstream.LastRevision(rev))
	}
	lease := func(b *bus.Bus, key string) error {
		l, err := b.Acquire(ctx, key, "me", time.Minute)
		if err != nil {
			return err
		}
		return errors.Join(l.Renew(ctx), l.Release(ctx))
	}
	readAll := func(b *bus.Bus, stream string) error {
		c, err := b.JS.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return err
		}
		_, err = c.Next(jetstream.FetchMaxWait(5 * time.Second))
		return err
	}

	upstream, ingest, orderer := s.connect(t, bus.UserUpstream), s.connect(t, bus.UserIngest), s.connect(t, bus.UserOrderer)
	must(t, store(upstream, bus.SubjectRequest("eiotclub", "package")))
	must(t, store(upstream, bus.SubjectTaskTrack("eiotclub")))
	must(t, store(ingest, bus.SubjectWebhook("eiotclub", "default", "order_status")))
	must(t, ingest.DeadBytes(ctx, bus.DeadLetter{Stream: bus.StreamWebhooks, Reason: "stale", Data: []byte("{}")}))
	must(t, ingest.Need(ctx, bus.StreamWebhooks, bus.StreamDead))

	t.Run("orderer", func(t *testing.T) {
		c, err := bus.NewCommitter(orderer, bus.CommitOptions{MinBatch: 2})
		must(t, err)
		defer c.Close()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				msg := bus.NewMsg(bus.SubjectOrderEvent(fmt.Sprintf("o%d", i), "eiotclub", "intent"), "", []byte(`{}`))
				bus.Expect(msg, bus.SubjectOrderHistory(fmt.Sprintf("o%d", i)), 0)
				if _, err := c.Publish(ctx, msg); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		_, found, err := orderer.Last(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory("o1"))
		if err != nil || !found {
			t.Fatalf("last event: %v, %v", found, err)
		}
		if _, found, err = orderer.LastFromLeader(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory("o1")); err != nil || !found {
			t.Fatalf("last event of the leader: %v, %v", found, err)
		}
		must(t, takeOne(orderer, bus.StreamOrders, bus.ConsumerOrderer("eiotclub")))
		must(t, store(upstream, bus.SubjectCancel("eiotclub")))
		must(t, takeOne(orderer, bus.StreamOrders, bus.ConsumerOrderer("eiotclub")))
		floor, err := orderer.Floor(ctx, bus.StreamOrders, bus.ConsumerOrderer("eiotclub"))
		must(t, err)
		for _, filter := range floor.Filters {
			must(t, orderer.Clear(ctx, bus.StreamOrders, filter, floor.AckFloor.Stream+1))
		}
		if got := lying(t, orderer, bus.StreamOrders); len(got) != 0 {
			t.Errorf("done, and %v lie there", got)
		}
		must(t, takeOne(orderer, bus.StreamWebhooks, bus.ConsumerOrdererWebhooks("eiotclub")))
		must(t, changeKey(orderer, bus.BucketOpenOrders, "o1"))
		must(t, readKey(orderer, bus.BucketOpenOrders, "o1"))
		must(t, changeKey(orderer, bus.BucketBudgets, "b"))
		must(t, readKey(orderer, bus.BucketSwitches, "eiotclub"))
	})
	t.Run("status service", func(t *testing.T) {
		svc, err := micro.AddService(orderer.NC, micro.Config{Name: "orders", Version: "1.0.0"})
		must(t, err)
		defer func() { _ = svc.Stop() }()
		must(t, svc.AddEndpoint("status", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond([]byte("known")) }), micro.WithEndpointSubject(bus.SubjectStatus)))
		must(t, orderer.NC.Flush())
		answer, err := upstream.NC.RequestWithContext(ctx, bus.SubjectStatus, []byte(`{"order_id":"o1"}`))
		must(t, err)
		if string(answer.Data) != "known" {
			t.Errorf("answer %q", answer.Data)
		}
	})
	t.Run("cdrpull", func(t *testing.T) {
		b := s.connect(t, bus.UserCDRPull)
		must(t, store(b, bus.SubjectCDRFile("default")))
		must(t, takeOne(b, bus.StreamCDR, bus.ConsumerCDRPull))
		must(t, store(b, bus.SubjectCDRLoaded("default")))
		must(t, store(b, bus.SubjectCDRGap("default")))
		must(t, changeKey(b, bus.BucketCDRFiles, "default.file"))
		must(t, readKey(b, bus.BucketCDRFiles, "default.file"))
		must(t, lease(b, "cdr-load-default"))
	})
	t.Run("reconciler", func(t *testing.T) {
		b := s.connect(t, bus.UserReconciler)
		must(t, takeOne(b, bus.StreamTasks, bus.ConsumerReconcilerTasks))
		must(t, store(b, bus.SubjectFinding("order_state")))
		must(t, store(b, bus.SubjectEvidence("eiotclub", "o1")))
		must(t, store(b, bus.SubjectTaskEnded("eiotclub")))
		must(t, store(b, bus.SubjectCDRFile("default")))
		must(t, readAll(b, bus.StreamOrderEvents))
		must(t, readAll(b, bus.StreamWebhooks))
		must(t, readAll(b, bus.StreamDead))
		for _, bucket := range []string{bus.BucketFindings, bus.BucketTasks, bus.BucketReconPeriods} {
			must(t, changeKey(b, bucket, "a.b"))
			must(t, readKey(b, bucket, "a.b"))
		}
		must(t, readKey(b, bus.BucketOpenOrders, "o1"))
		must(t, lease(b, "reconciler.records"))
	})
	t.Run("archiver", func(t *testing.T) {
		must(t, store(s.connect(t, bus.UserOperator), bus.SubjectAudit("switch_set")))
		b := s.connect(t, bus.UserArchiver)
		for _, stream := range bus.ArchivedStreams {
			_, err := b.JS.ResetConsumerToSequence(ctx, stream, bus.ConsumerArchiver(stream), 1)
			must(t, err)
			if _, found, err := b.NextFromLeader(ctx, stream, ">", 1); err != nil || !found {
				t.Fatalf("first message of %s: %v, %v", stream, found, err)
			}
			must(t, takeOne(b, stream, bus.ConsumerArchiver(stream)))
			must(t, lease(b, "archiver-"+stream))
		}
	})
	t.Run("operator", func(t *testing.T) {
		b := s.connect(t, bus.UserOperator)
		must(t, readAll(b, bus.StreamDead))
		must(t, changeKey(b, bus.BucketSwitches, "eiotclub"))
		must(t, readKey(b, bus.BucketLeases, "x"))
		must(t, store(b, bus.SubjectEvidence("eiotclub", "o2")))
		must(t, store(b, bus.SubjectAudit("switch_set")))
		must(t, store(b, bus.SubjectFinding("order_state")))
		_, _, err := b.Range(ctx, bus.StreamDead, bus.SubjectDead("*"), 1, 10)
		must(t, err)
	})
	t.Run("console", func(t *testing.T) {
		b := s.connect(t, bus.UserConsole)
		letters, _, err := b.Range(ctx, bus.StreamDead, bus.SubjectDead("*"), 1, 10)
		must(t, err)
		if len(letters) == 0 {
			t.Error("it sees no dead letter")
		}
		must(t, readKey(b, bus.BucketOpenOrders, "o1"))
		must(t, readKey(b, bus.BucketFindings, "a.b"))
		must(t, store(b, bus.SubjectAudit("order_reveal")))
	})
	t.Run("upstream", func(t *testing.T) {
		live, err := upstream.NC.SubscribeSync(bus.SubjectOrderEvent("*", "*", "*"))
		must(t, err)
		ended, err := upstream.NC.SubscribeSync(bus.SubjectTaskEnded("*"))
		must(t, err)
		must(t, upstream.NC.Flush())
		operator := s.connect(t, bus.UserOperator)
		_, err = operator.JS.CreateConsumer(ctx, bus.StreamOrderEvents, jetstream.ConsumerConfig{Durable: bus.UserUpstream, AckPolicy: jetstream.AckExplicitPolicy})
		must(t, err)
		must(t, store(orderer, bus.SubjectOrderEvent("o9", "eiotclub", "placed")))
		_, err = live.NextMsgWithContext(ctx)
		must(t, err)
		must(t, store(s.connect(t, bus.UserReconciler), bus.SubjectTaskEnded("eiotclub")))
		_, err = ended.NextMsgWithContext(ctx)
		must(t, err)
		abroad := *upstream
		abroad.JS, err = jetstream.NewWithDomain(upstream.NC, bus.UpstreamDomain)
		must(t, err)
		must(t, takeOne(&abroad, bus.StreamOrderEvents, bus.UserUpstream))
		for i, want := range []bool{false, true} {
			ack, err := upstream.Publish(ctx, bus.NewMsg(bus.SubjectRequest("esimfly", "esim"), "same-id", []byte("{}")))
			must(t, err)
			if ack.Duplicate != want {
				t.Errorf("publish %d: duplicate is %v: headers do not cross", i+1, ack.Duplicate)
			}
		}
	})
}

// Who asks says where the answer goes. It must not be able to go into the ledger.
func TestAnswersCannotBeSentToTheLedger(t *testing.T) {
	s := startSecured(t)
	upstream, operator := s.connect(t, bus.UserUpstream), s.connect(t, bus.UserOperator)
	subject := bus.SubjectOrderEvent("o1", "eiotclub", "placed")
	for _, request := range []string{bus.SubjectRequest("eiotclub", "package"), bus.SubjectTaskTrack("eiotclub"), bus.SubjectStatus,
		"$JS.simline.API.STREAM.INFO.ORDER_EVENTS", "$JS.simline.API.CONSUMER.INFO.ORDER_EVENTS.upstream", "$JS.simline.API.CONSUMER.MSG.NEXT.ORDER_EVENTS.upstream", "$JS.ACK.ORDER_EVENTS.upstream.1.1.1.1.1"} {
		if err := upstream.NC.PublishRequest(request, subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	// A request that is answered, after those: they have been dealt with.
	if _, err := upstream.Publish(t.Context(), bus.NewMsg(bus.SubjectRequest("eiotclub", "package"), "", []byte("{}"))); err != nil {
		t.Fatal(err)
	}
	if m, found, err := operator.LastFromLeader(t.Context(), bus.StreamOrderEvents, bus.SubjectOrderHistory("o1")); err != nil || found {
		t.Fatalf("an answer lies in the ledger: %q, %v", m.Data, err)
	}
}
