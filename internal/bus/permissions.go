package bus

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// NATS users. A worker's name is its user's.
const (
	UserIngest     = "ingest"
	UserOrderer    = "orderer"
	UserCDRPull    = "cdrpull"
	UserReconciler = "reconciler"
	UserArchiver   = "archiver"
	UserSetup      = "setup"    // simctl provision
	UserOperator   = "operator" // a person with simctl
	UserConsole    = "console"  // the page, read-only
	UserBackup     = "backup"   // simctl backup and restore
	UserUpstream   = "upstream" // a system that orders
)

// UpstreamDomain is the JetStream domain by which upstream's account reaches our
// streams (jetstream.NewWithDomain): the API's own subjects are its account's.
const UpstreamDomain = "simline"

// Users lists them.
var Users = []string{UserIngest, UserOrderer, UserCDRPull, UserReconciler, UserArchiver, UserSetup, UserOperator, UserConsole, UserBackup, UserUpstream}

// Permission is what one user may publish to and subscribe to; all else is
// refused by the server. Denied counts above Publish.
type Permission struct {
	User, About                string
	Publish, Denied, Subscribe []string
}

// Permissions derives a user's permissions from the topology: what a stream or
// consumer is called stands nowhere else. It returns false for an unknown user.
//
// Two things such lists cannot tell apart, and what holds instead. Who may write a
// key of a bucket may also purge the bucket (a header does it), so that no bucket
// is a ledger: ORDER_EVENTS is. And who may ask, or make a consumer, chooses where
// the answer goes: a PubAck, or an old event, could be sent to a subject of the
// ledger. So upstream systems have an account of their own, which answers cannot
// leave, and only our own workers and people are in the one with the streams.
func Permissions(user string) (Permission, bool) {
	g := grants{Permission: Permission{User: user}}
	// Each user's replies come to inboxes that no other user may listen to.
	g.subscribe(inboxPrefix(connectionOf(user)) + ".>")
	switch user {
	case UserIngest:
		g.About = "stores verified notifications; reads nothing"
		g.publish(SubjectWebhook(order.EIOTCLUB, "*", "*"), SubjectDead(StreamWebhooks))
		g.see(StreamWebhooks, StreamDead)
	case UserOrderer:
		g.About = "the only one that writes the ledger"
		for _, s := range order.Suppliers {
			g.bind(StreamOrders, ConsumerOrderer(s))
			g.bind(StreamEvidence, ConsumerEvidence(s))
			g.bind(StreamWebhooks, ConsumerOrdererWebhooks(s))
		}
		g.publish(SubjectOrderEvent("*", "*", "*"), SubjectDead(StreamOrders), SubjectDead(StreamEvidence), SubjectDead(StreamWebhooks), SubjectDead(StreamOrderEvents))
		g.get(StreamOrderEvents)
		g.see(StreamDead)
		g.write(BucketOpenOrders, BucketBudgets)
		g.publish(SubjectKV(BucketLeases, "card.*"))
		g.read(BucketOpenOrders, BucketBudgets, BucketSwitches, BucketLeases)
		for _, s := range []string{StreamOrders, StreamEvidence} { // what the server gave up delivering
			g.subscribe(SubjectMaxDeliveries(s))
			g.get(s)
			g.api("STREAM.MSG.DELETE." + s)
		}
		// What lies behind its durables' floors. It could as well purge all of it: what
		// is to go stands in the request, not in its subject. But whoever goes by
		// orderer's name can take every request anyway, by acknowledging it.
		g.api("STREAM.PURGE." + StreamOrders)
		g.serve(SubjectStatus)
	case UserCDRPull:
		g.About = "announces, claims and reports CDR files"
		g.bind(StreamCDR, ConsumerCDRPull)
		g.publish(SubjectCDRFile("*"), SubjectCDRLoaded("*"), SubjectCDRGap("*"), SubjectDead(StreamCDR))
		g.see(StreamCDREvents, StreamDead)
		g.write(BucketCDRFiles)
		g.publish(SubjectKV(BucketLeases, "*"))
		g.read(BucketCDRFiles, BucketLeases, BucketSwitches)
	case UserReconciler:
		g.About = "reads all books, writes findings and evidence, has CDR files read again"
		g.bind(StreamTasks, ConsumerReconcilerTasks)
		g.publish(SubjectFinding("*"), SubjectEvidence("*", "*"), SubjectTaskEnded("*"), SubjectCDRFile("*"), SubjectDead(StreamTasks))
		g.get(StreamOrderEvents)
		g.get(StreamDead) // what contradicts the ledger
		g.follow(StreamOrderEvents, StreamWebhooks, StreamCDREvents, StreamDead)
		g.see(StreamEvidence, StreamFindings, StreamCDR)
		g.write(BucketTasks, BucketFindings, BucketReconPeriods, BucketBudgets)
		g.publish(SubjectKV(BucketLeases, "reconciler.*"))
		g.read(BucketLeases, BucketTasks, BucketFindings, BucketReconPeriods, BucketBudgets, BucketOpenOrders, BucketSwitches)
	case UserArchiver:
		g.About = "reads what is archived"
		for _, s := range ArchivedStreams {
			g.bind(s, ConsumerArchiver(s))
			// It goes on from where ClickHouse stands, whatever was delivered before.
			g.api("CONSUMER.RESET." + s + "." + ConsumerArchiver(s))
			// It says how long the first that it has not archived has waited.
			g.api("STREAM.MSG.GET." + s)
			g.publish(SubjectDead(s), SubjectKV(BucketLeases, "archiver-"+s))
		}
		g.see(StreamDead)
		g.read(BucketLeases)
	case UserSetup:
		g.About = "makes streams, buckets and consumers; writes and reads no message"
		for _, s := range allStreams() {
			g.api("STREAM.CREATE."+s, "STREAM.UPDATE."+s, "CONSUMER.CREATE."+s+".>")
			g.see(s)
		}
		g.api("INFO")
	case UserOperator:
		g.About = "a person with simctl: reads everything, sends dead letters again, settles held orders, sets switches"
		for _, s := range allStreams() {
			g.see(s)
			g.api("CONSUMER.LIST."+s, "CONSUMER.NAMES."+s)
		}
		g.api("INFO", "STREAM.LIST", "STREAM.NAMES")
		for _, s := range StreamNames() {
			g.get(s)
			g.follow(s)
		}
		for _, b := range buckets() {
			g.read(b)
		}
		g.write(BucketSwitches, BucketFindings)
		for _, s := range order.Suppliers {
			g.publish(SubjectRequest(s, ">"), SubjectCancel(s), SubjectEvidence(s, "*"), SubjectWebhook(s, "*", "*"))
		}
		g.publish(SubjectCDRFile("*"), SubjectTaskTrack("*"), SubjectFinding("*"), SubjectAudit("*"), SubjectStatus)
		g.api("STREAM.MSG.DELETE." + StreamDead)
	case UserBackup:
		g.About = "copies every stream, and makes them of a copy where there are none; puts restored orders under guard"
		for _, s := range allStreams() {
			g.see(s)
			g.api("STREAM.SNAPSHOT."+s, "STREAM.RESTORE."+s)
			g.publish("$JS.SNAPSHOT.ACK."+s+".>", "$JS.SNAPSHOT.RESTORE."+s+".>")
		}
		g.get(StreamOrderEvents)
		g.follow(StreamOrderEvents)
		g.read(BucketOpenOrders)
		g.write(BucketOpenOrders)
		g.publish(SubjectAudit(wire.ActStreamsBackup), SubjectAudit(wire.ActStreamsRestore))
	case UserConsole:
		g.About = "the page: reads, and notes who asked for card data; it can change nothing, whatever it is told"
		for _, s := range StreamNames() {
			g.see(s)
			for _, c := range NewTopology(DefaultSettings()).Consumers[s] {
				g.api("CONSUMER.INFO." + s + "." + c.Durable)
			}
		}
		for _, s := range []string{StreamOrderEvents, StreamDead, StreamAudit} {
			g.get(s)
		}
		g.read(BucketOpenOrders, BucketFindings, BucketSwitches, BucketReconPeriods)
		g.publish(SubjectAudit("*"))
	case UserUpstream:
		g.About = "orders, cancels, tracks, asks, and listens to what became of it"
		// What it may publish its account imports as services, what it may listen to
		// as streams: see UsersConf.
		for _, s := range order.Suppliers {
			g.publish(SubjectRequest(s, ">"), SubjectCancel(s), SubjectTaskTrack(s))
		}
		g.publish(SubjectStatus)
		g.bind(StreamOrderEvents, UserUpstream) // a durable of its own, once an operator has made one
		g.subscribe(SubjectOrderEvent("*", "*", "*"), SubjectTaskEnded("*"))
		for i, s := range g.Publish {
			g.Publish[i] = strings.Replace(s, jetstream.DefaultAPIPrefix, "$JS."+UpstreamDomain+".API.", 1)
		}
	default:
		return Permission{}, false
	}
	return g.sorted(), true
}

// connectionOf is the name that a user's connections go by.
func connectionOf(user string) string {
	if user == UserSetup || user == UserOperator || user == UserBackup {
		return "simctl"
	}
	return user
}

// inboxPrefix is where replies to a connection come. A name is one token.
func inboxPrefix(name string) string {
	return "_INBOX." + strings.Map(func(r rune) rune {
		if r <= ' ' || r == '.' || r == '*' || r == '>' {
			return '_'
		}
		return r
	}, name)
}

// grants gathers permissions by what they are for.
type grants struct{ Permission }

func (g *grants) publish(subjects ...string)   { g.Publish = append(g.Publish, subjects...) }
func (g *grants) subscribe(subjects ...string) { g.Subscribe = append(g.Subscribe, subjects...) }

func (g *grants) api(requests ...string) {
	for _, r := range requests {
		g.publish(jetstream.DefaultAPIPrefix + r)
	}
}

// see is to know that a stream is there, and how far it is.
func (g *grants) see(streams ...string) {
	for _, s := range streams {
		g.api("STREAM.INFO." + s)
	}
}

// get is to read single messages of a stream.
func (g *grants) get(stream string) {
	g.see(stream)
	g.api("DIRECT.GET."+stream, "DIRECT.GET."+stream+".>", "STREAM.MSG.GET."+stream)
}

// bind is to take and acknowledge the messages of one durable consumer.
func (g *grants) bind(stream, durable string) {
	g.see(stream)
	g.api("CONSUMER.INFO."+stream+"."+durable, "CONSUMER.MSG.NEXT."+stream+"."+durable)
	g.publish("$JS.ACK." + stream + "." + durable + ".>")
}

// follow is to read streams in order by short-lived consumers of one's own. The
// durables of others may not be touched.
func (g *grants) follow(streams ...string) {
	t := NewTopology(DefaultSettings())
	for _, s := range streams {
		g.see(s)
		g.api("CONSUMER.CREATE."+s+".*", "CONSUMER.CREATE."+s+".*.>", "CONSUMER.INFO."+s+".*", "CONSUMER.MSG.NEXT."+s+".*", "CONSUMER.DELETE."+s+".*")
		g.publish("$JS.FC." + s + ".>")
		for _, c := range t.Consumers[s] {
			for _, call := range []string{"CREATE", "MSG.NEXT", "DELETE"} {
				g.deny("CONSUMER." + call + "." + s + "." + c.Durable)
			}
			g.deny("CONSUMER.CREATE." + s + "." + c.Durable + ".>")
		}
	}
}

func (g *grants) deny(requests ...string) {
	for _, r := range requests {
		g.Denied = append(g.Denied, jetstream.DefaultAPIPrefix+r)
	}
}

// read is to get, list and watch the keys of buckets.
func (g *grants) read(buckets ...string) {
	for _, b := range buckets {
		g.get(StreamKV(b))
		g.follow(StreamKV(b))
	}
}

// write is to put and remove the keys of buckets.
func (g *grants) write(buckets ...string) {
	for _, b := range buckets {
		g.publish(SubjectKV(b, ">"))
	}
}

// serve is to answer requests as a NATS micro service.
func (g *grants) serve(subject string) {
	g.subscribe(subject)
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		g.subscribe("$SRV."+verb, "$SRV."+verb+".>")
	}
	g.publish("_INBOX.>", "_R_.>") // the second is where answers to another account go
}

// sorted drops doubles, and denials of what is bound.
func (g *grants) sorted() Permission {
	p := g.Permission
	p.Denied = slices.DeleteFunc(p.Denied, func(s string) bool { return slices.Contains(p.Publish, s) })
	for _, list := range []*[]string{&p.Publish, &p.Denied, &p.Subscribe} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return p
}

func buckets() []string {
	var out []string
	for _, b := range NewTopology(DefaultSettings()).Buckets {
		out = append(out, b.Bucket)
	}
	return out
}

// allStreams are the streams, and those beneath the buckets.
func allStreams() []string {
	out := StreamNames()
	for _, b := range buckets() {
		out = append(out, StreamKV(b))
	}
	return out
}

// UsersConf renders the accounts and users for the server's configuration. Each
// user is known by its public nkey, which the environment gives as
// NATS_NKEY_<USER>; no secret stands in it.
func UsersConf() string {
	var b strings.Builder
	b.WriteString(`# Made from internal/bus by "make generate"; do not edit. Included by cluster.conf.
# A user's public nkey comes from the environment; its seed is the NATS_CREDS file
# of who goes by it.

accounts {
  # The streams, and who works on them.
  SIMLINE {
    jetstream: enabled
    users: [
`)
	for _, user := range Users {
		if user != UserUpstream {
			writeUser(&b, user)
		}
	}
	up, _ := Permissions(UserUpstream)
	b.WriteString("    ]\n    exports: [\n")
	ours := func(s string) string {
		return strings.Replace(s, "$JS."+UpstreamDomain+".API.", jetstream.DefaultAPIPrefix, 1)
	}
	heard := slices.DeleteFunc(slices.Clone(up.Subscribe), func(s string) bool { return strings.HasPrefix(s, "_INBOX.") })
	for _, s := range up.Publish {
		answers := ""
		if strings.Contains(s, ".MSG.NEXT.") {
			answers = "response_type: stream, "
		}
		fmt.Fprintf(&b, "      {service: %q, %saccounts: [UPSTREAM]}\n", ours(s), answers)
	}
	for _, s := range heard {
		fmt.Fprintf(&b, "      {stream: %q, accounts: [UPSTREAM]}\n", s)
	}
	b.WriteString(`    ]
  }
  # Systems that order. Answers do not leave the account, so that none of them can
  # have one sent to a subject of ours.
  UPSTREAM {
    users: [
`)
	writeUser(&b, UserUpstream)
	b.WriteString("    ]\n    imports: [\n")
	for _, s := range up.Publish {
		fmt.Fprintf(&b, "      {service: {account: SIMLINE, subject: %q}, to: %q}\n", ours(s), s)
	}
	for _, s := range heard {
		fmt.Fprintf(&b, "      {stream: {account: SIMLINE, subject: %q}}\n", s)
	}
	b.WriteString(`    ]
  }
  # For the people who run the servers.
  SYS {
    users: [ {nkey: $NATS_NKEY_SYS} ]
  }
}
system_account: SYS
`)
	return b.String()
}

func writeUser(b *strings.Builder, user string) {
	p, _ := Permissions(user)
	list := func(name string, subjects []string) {
		if len(subjects) == 0 {
			return
		}
		fmt.Fprintf(b, "            %s: [\n", name)
		for _, s := range subjects {
			fmt.Fprintf(b, "              %q\n", s)
		}
		b.WriteString("            ]\n")
	}
	fmt.Fprintf(b, "      # %s: %s\n      {\n        nkey: $NATS_NKEY_%s\n        permissions: {\n          publish: {\n", user, p.About, strings.ToUpper(user))
	list("allow", p.Publish)
	list("deny", p.Denied)
	b.WriteString("          }\n          subscribe: {\n")
	list("allow", p.Subscribe)
	b.WriteString("          }\n        }\n      }\n")
}
