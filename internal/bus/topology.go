package bus

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/order"
)

// Streams.
const (
	StreamOrders      = "ORDERS"
	StreamOrderEvents = "ORDER_EVENTS"
	StreamEvidence    = "EVIDENCE"
	StreamWebhooks    = "WEBHOOKS"
	StreamCDR         = "CDR"
	StreamCDREvents   = "CDR_EVENTS"
	StreamFindings    = "FINDINGS"
	StreamTasks       = "TASKS"
	StreamDead        = "DEAD"
	StreamAudit       = "AUDIT"
)

// Key-value buckets.
const (
	BucketOpenOrders = "open_orders" // unsettled orders that left the queue
	BucketCDRFiles   = "cdr_files"   // claims and looks of CDR files
	BucketLeases     = "leases"      // who does what only one may do
	BucketSwitches   = "switches"    // pauses and spend stops, set by people
	BucketBudgets    = "budgets"     // call budgets shared by replicas
	BucketTasks      = "tasks"       // batch tasks being followed

	BucketFindings     = "findings"      // findings that are open or accepted
	BucketReconPeriods = "recon_periods" // how far each reconciliation job is
)

// SubjectStatus is the micro service that answers an order's last event.
const SubjectStatus = "orders.v1.status"

// Subjects. A token is checked where it enters: ids, accounts and suppliers are
// of the characters that a subject allows.
func SubjectRequest(supplier, product string) string {
	return "orders.v1.request." + supplier + "." + product
}
func SubjectCancel(supplier string) string { return "orders.v1.cancel." + supplier }
func SubjectOrderEvent(orderID, supplier, state string) string {
	return "orders.v1.event." + orderID + "." + supplier + "." + state
}

// SubjectOrderHistory matches every event of one order: the guard of its
// compare-and-set.
func SubjectOrderHistory(orderID string) string { return "orders.v1.event." + orderID + ".>" }
func SubjectEvidence(supplier, orderID string) string {
	return "orders.v1.evidence." + supplier + "." + orderID
}
func SubjectWebhook(supplier, account, event string) string {
	return "webhooks.v1." + supplier + "." + account + "." + event
}
func SubjectCDRFile(account string) string    { return "cdr.v1.file." + account }
func SubjectCDRLoaded(account string) string  { return "cdr.v1.loaded." + account }
func SubjectCDRGap(account string) string     { return "cdr.v1.gap." + account }
func SubjectFinding(kind string) string       { return "recon.v1.finding." + kind }
func SubjectTaskTrack(supplier string) string { return "tasks.v1.track." + supplier }
func SubjectTaskEnded(supplier string) string { return "tasks.v1.ended." + supplier }
func SubjectDead(stream string) string        { return "dead.v1." + stream }
func SubjectAudit(action string) string       { return "audit.v1." + action }

// OrderOf is the order id in the subject of an order's event, "" in another.
func OrderOf(subject string) string {
	rest, ok := strings.CutPrefix(subject, "orders.v1.event.")
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, ".")
	return id
}

// WebhookOf takes a notification's subject apart; ok is false for another subject.
func WebhookOf(subject string) (supplier, account, event string, ok bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 5 || tokens[0] != "webhooks" {
		return "", "", "", false
	}
	return tokens[2], tokens[3], tokens[4], true
}

// SubjectKV is the subject of a key of a bucket, for raw publishes.
func SubjectKV(bucket, key string) string { return "$KV." + bucket + "." + key }

// StreamKV is the stream beneath a bucket.
func StreamKV(bucket string) string { return "KV_" + bucket }

// Durable consumers.
const (
	ConsumerCDRPull         = "cdrpull"
	ConsumerReconcilerTasks = "reconciler-tasks"
)

// ConsumerOrderer is the durable of one supplier's requests and cancels.
func ConsumerOrderer(supplier string) string { return "orderer-" + supplier }

// ConsumerEvidence is orderer's durable of one supplier's evidence.
func ConsumerEvidence(supplier string) string { return "orderer-evidence-" + supplier }

// ConsumerOrdererWebhooks is orderer's durable of one supplier's notifications.
func ConsumerOrdererWebhooks(supplier string) string { return "orderer-webhooks-" + supplier }

// ConsumerArchiver is archiver's durable of one stream.
func ConsumerArchiver(stream string) string { return "archiver-" + stream }

// ArchivedStreams are those that archiver writes to ClickHouse.
var ArchivedStreams = []string{StreamOrderEvents, StreamWebhooks, StreamFindings, StreamCDREvents, StreamAudit}

// Settings are the few numbers of the topology that an operator may set.
type Settings struct {
	// Replicas of each stream and bucket: 1 on a single server, 3 in a cluster.
	Replicas int
	// AckWait of orderer's consumers; longer than the longest supplier call.
	AckWait time.Duration
	// MaxInFlight is the cluster-wide cap of orders in work per supplier.
	MaxInFlight int
	// DedupWindow of WEBHOOKS: repeats of a notification within it are dropped
	// by the server already.
	DedupWindow time.Duration
	// LedgerRetention is the age at which order events go, which is how long an
	// order id is remembered; 0 keeps them.
	LedgerRetention time.Duration
}

// DefaultSettings are sound for one server.
func DefaultSettings() Settings {
	return Settings{Replicas: 1, AckWait: 60 * time.Second, MaxInFlight: 256, DedupWindow: 2 * time.Hour}
}

// Topology is every stream, consumer and bucket.
type Topology struct {
	Streams   []jetstream.StreamConfig
	Consumers map[string][]jetstream.ConsumerConfig // by stream
	Buckets   []jetstream.KeyValueConfig
}

// NewTopology is the one table of what stands on the server.
func NewTopology(s Settings) Topology {
	stream := func(name string, retention jetstream.RetentionPolicy, about string, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Description: about, Subjects: subjects, Retention: retention,
			Storage: jetstream.FileStorage, Replicas: s.Replicas, Duplicates: 2 * time.Minute,
			AllowDirect: true,
			// Group commit: several messages under one fsync, each still acknowledged.
			AllowAtomicPublish: true,
		}
	}
	// Work queues refuse when full instead of dropping their oldest, and keep
	// what nobody took however long it lies.
	queue := func(name, about string, subjects ...string) jetstream.StreamConfig {
		c := stream(name, jetstream.WorkQueuePolicy, about, subjects...)
		c.Discard = jetstream.DiscardNew
		return c
	}
	// ORDERS is one to its senders, and nothing of it goes by being acknowledged: that
	// would be an fsync for each. orderer purges what lies behind the floors of its
	// durables (decision 0015).
	orders := queue(StreamOrders, "order requests and cancels, until they are in the ledger and about a second longer")
	orders.Retention = jetstream.LimitsPolicy
	for _, sup := range order.Suppliers {
		orders.Subjects = append(orders.Subjects, SubjectRequest(sup, ">"), SubjectCancel(sup))
	}
	events := stream(StreamOrderEvents, jetstream.LimitsPolicy, "the ledger: each transition of each order",
		SubjectOrderEvent("*", "*", "*"))
	events.MaxAge, events.DenyDelete = s.LedgerRetention, true
	webhooks := stream(StreamWebhooks, jetstream.LimitsPolicy, "verified notifications, byte for byte", "webhooks.v1.>")
	webhooks.Duplicates = s.DedupWindow
	webhooks.DenyDelete = true
	audit := stream(StreamAudit, jetstream.LimitsPolicy, "what people did, who and why, written before it is done", SubjectAudit("*"))
	audit.DenyDelete = true

	durable := func(name string, filters ...string) jetstream.ConsumerConfig {
		c := jetstream.ConsumerConfig{
			Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.AckWait,
			MaxDeliver: -1, MaxAckPending: s.MaxInFlight, FilterSubjects: filters,
		}
		return c
	}
	consumers := map[string][]jetstream.ConsumerConfig{}
	for _, sup := range order.Suppliers {
		consumers[StreamOrders] = append(consumers[StreamOrders],
			durable(ConsumerOrderer(sup), SubjectRequest(sup, ">"), SubjectCancel(sup)))
		consumers[StreamEvidence] = append(consumers[StreamEvidence],
			durable(ConsumerEvidence(sup), SubjectEvidence(sup, "*")))
		consumers[StreamWebhooks] = append(consumers[StreamWebhooks],
			durable(ConsumerOrdererWebhooks(sup), SubjectWebhook(sup, "*", "*")))
	}
	pull := durable(ConsumerCDRPull, SubjectCDRFile("*"))
	pull.AckWait, pull.MaxAckPending = 60*time.Second, 64
	consumers[StreamCDR] = append(consumers[StreamCDR], pull)
	tasks := durable(ConsumerReconcilerTasks, SubjectTaskTrack("*"))
	consumers[StreamTasks] = append(consumers[StreamTasks], tasks)
	for _, name := range ArchivedStreams {
		c := durable(ConsumerArchiver(name))
		// One replica archives a stream at a time and acknowledges whole batches.
		c.AckPolicy, c.AckWait, c.MaxAckPending = jetstream.AckAllPolicy, 5*time.Minute, 200_000
		consumers[name] = append(consumers[name], c)
	}

	bucket := func(name, about string, history uint8) jetstream.KeyValueConfig {
		return jetstream.KeyValueConfig{Bucket: name, Description: about, History: history, Replicas: s.Replicas, Storage: jetstream.FileStorage}
	}
	leases := bucket(BucketLeases, "who does what only one may do", 1)
	leases.LimitMarkerTTL = time.Minute
	open := bucket(BucketOpenOrders, "unsettled orders that left the queue", 1)
	open.LimitMarkerTTL = time.Minute // or the marks of settled orders would stay
	findings := bucket(BucketFindings, "findings that are open or accepted", 1)
	findings.LimitMarkerTTL = time.Hour
	followed := bucket(BucketTasks, "batch tasks being followed", 1)
	followed.LimitMarkerTTL = time.Hour

	return Topology{
		Streams: []jetstream.StreamConfig{
			orders,
			events,
			queue(StreamEvidence, "what others learnt about an order", SubjectEvidence("*", "*")),
			webhooks,
			queue(StreamCDR, "CDR files to load", SubjectCDRFile("*")),
			stream(StreamCDREvents, jetstream.LimitsPolicy, "CDR files loaded, and gaps", SubjectCDRLoaded("*"), SubjectCDRGap("*")),
			stream(StreamFindings, jetstream.LimitsPolicy, "differences between us and a supplier", SubjectFinding("*")),
			stream(StreamTasks, jetstream.LimitsPolicy, "batch tasks to follow, and how they ended", SubjectTaskTrack("*"), SubjectTaskEnded("*")),
			stream(StreamDead, jetstream.LimitsPolicy, "whole messages that could not be taken, with the reason", SubjectDead("*")),
			audit,
		},
		Consumers: consumers,
		Buckets: []jetstream.KeyValueConfig{
			open,
			bucket(BucketCDRFiles, "looks at and claims of CDR files", 1),
			leases,
			bucket(BucketSwitches, "pauses and spend stops", 10),
			bucket(BucketBudgets, "call budgets shared by replicas", 1),
			followed,
			findings,
			bucket(BucketReconPeriods, "how far each reconciliation job is", 1),
		},
	}
}

// StreamNames lists every stream, sorted.
func StreamNames() []string {
	var names []string
	for _, s := range NewTopology(DefaultSettings()).Streams {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// SubjectMaxDeliveries is where the server says that it gave up delivering a
// message of stream.
func SubjectMaxDeliveries(stream string) string {
	return "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + stream + ".>"
}
