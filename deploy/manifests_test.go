package deploy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/simline/simline/internal/archiver"
	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdrpull"
	"github.com/simline/simline/internal/console"
	"github.com/simline/simline/internal/ingest"
	"github.com/simline/simline/internal/orderer"
	"github.com/simline/simline/internal/reconciler"
	"github.com/simline/simline/internal/service"
)

// manifest is the part of a Kubernetes object that these tests read.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Replicas *int
		Template struct {
			Spec struct {
				InitContainers []container `yaml:"initContainers"`
				Containers     []container
				Volumes        []struct {
					Secret struct {
						SecretName string `yaml:"secretName"`
					}
				}
			}
		}
		ScaleTargetRef  struct{ Kind, Name string } `yaml:"scaleTargetRef"`
		MinReplicaCount int                         `yaml:"minReplicaCount"`
		MaxReplicaCount int                         `yaml:"maxReplicaCount"`
		Triggers        []struct {
			Type     string
			Metadata map[string]string
		}
		Egress []struct {
			Ports []struct {
				Port    int
				EndPort int `yaml:"endPort"`
			}
		}
	}
}

type container struct {
	Name  string
	Image string
	Args  []string
	Env   []struct{ Name, Value string }

	Resources struct {
		Requests, Limits struct{ Memory string }
	}
}

// read decodes every object of the files that match.
func read(t *testing.T, pattern string) []manifest {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file is %s: %v", pattern, err)
	}
	var out []manifest
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		dec := yaml.NewDecoder(bytes.NewReader(b))
		for {
			var m manifest
			if err := dec.Decode(&m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				if bytes.HasPrefix(bytes.TrimSpace(b), []byte("- op")) || strings.Contains(string(b), "\n- op") {
					break // a patch
				}
				t.Fatalf("%s: %v", f, err)
			}
			out = append(out, m)
		}
	}
	return out
}

func named(t *testing.T, list []manifest, kind, name string) manifest {
	t.Helper()
	i := slices.IndexFunc(list, func(m manifest) bool { return m.Kind == kind && m.Metadata.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s %s", kind, name)
	}
	return list[i]
}

// settings are the lines of settings.env.
func settings(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("k8s/base/settings.env")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok && !strings.HasPrefix(name, "#") {
			out[name] = value
		}
	}
	return out
}

// configs are the workers' configurations, empty.
func configs() map[string]service.Config {
	return map[string]service.Config{"ingest": &ingest.Config{}, "orderer": &orderer.Config{}, "cdrpull": &cdrpull.Config{},
		"reconciler": &reconciler.Config{}, "archiver": &archiver.Config{}, "console": &console.Config{}}
}

// simctlReads are the variables that provision and migrate read; they have no
// Config of their own.
var simctlReads = []string{"NATS_URL", "NATS_CREDS", "NATS_REPLICAS", "CLICKHOUSE_DSN_FILE", "ORDER_ACK_WAIT", "ORDER_MAX_IN_FLIGHT", "WEBHOOK_DEDUP_WINDOW", "LEDGER_RETENTION"}

func knows(cfg service.Config, name string) bool {
	return slices.ContainsFunc(service.Fields(cfg), func(f service.Field) bool { return f.Name == name || f.Secret && f.Name+"_FILE" == name })
}

func TestEveryVariableIsRead(t *testing.T) {
	base := read(t, "k8s/base/*.yaml")
	for name := range settings(t) {
		if slices.Contains(simctlReads, name) {
			continue
		}
		read := false
		for _, cfg := range configs() {
			read = read || knows(cfg, name)
		}
		if !read {
			t.Errorf("settings.env: nobody reads %s", name)
		}
	}
	for _, m := range base {
		spec := m.Spec.Template.Spec
		for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
			worker := strings.TrimPrefix(c.Image, "simline/")
			if slices.Equal(c.Args, []string{"ui"}) { // of simctl
				worker = "console"
			}
			for _, e := range c.Env {
				switch cfg := configs()[worker]; {
				case e.Name == "GOMEMLIMIT":
				case cfg == nil && !slices.Contains(simctlReads, e.Name), cfg != nil && !knows(cfg, e.Name):
					t.Errorf("%s %s: %s does not read %s", m.Kind, m.Metadata.Name, worker, e.Name)
				}
			}
		}
	}
	// And simctl's, from its source.
	var source []byte
	files, err := filepath.Glob("../cmd/simctl/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, b...)
	}
	for _, name := range simctlReads {
		if !bytes.Contains(source, []byte(name)) {
			t.Errorf("simctl does not read %s", name)
		}
	}
}

// With the manifests' environment, and the Secrets as the examples have them, each
// worker's configuration is whole.
func TestWorkersAcceptTheirEnvironment(t *testing.T) {
	base := read(t, "k8s/base/*.yaml")
	for worker, cfg := range configs() {
		t.Run(worker, func(t *testing.T) {
			kind := "Deployment"
			if worker == "ingest" {
				kind = "StatefulSet"
			}
			dir := t.TempDir()
			var environ []string
			for name, value := range settings(t) {
				environ = append(environ, name+"="+value)
			}
			for _, e := range named(t, base, kind, worker).Spec.Template.Spec.Containers[0].Env {
				if strings.HasPrefix(e.Value, "/") {
					e.Value = placed(t, dir, worker, e.Value)
				}
				environ = append(environ, e.Name+"="+e.Value)
			}
			if err := service.LoadConfig(environ, cfg); err != nil {
				t.Errorf("%s: %v", worker, err)
			}
		})
	}
}

// placed puts an example of a mounted file under dir, and says where.
func placed(t *testing.T, dir, worker, path string) string {
	t.Helper()
	path = filepath.Join(dir, path)
	var content []byte
	switch filepath.Base(path) {
	case "accounts.yaml":
		b, err := os.ReadFile("k8s/examples/accounts-" + worker + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		content = b
	case "dsn":
		content = []byte("clickhouse://" + worker + ":secret@clickhouse.clickhouse.svc:9000/simline\n")
	case "token":
		content = []byte("a token of 16 or more\n")
	case worker + ".nk":
		content = []byte("SU…\n")
	case "spool", "stage":
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	default:
		t.Fatalf("no example of %s", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A call in hand ends before its pod does, and before another worker takes up its
// order.
func TestTimingsBelongTogether(t *testing.T) {
	s := settings(t)
	seconds := func(name string) time.Duration {
		d, err := time.ParseDuration(s[name])
		if err != nil {
			t.Fatalf("settings.env: %s: %v", name, err)
		}
		return d
	}
	b, err := os.ReadFile("k8s/base/worker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`terminationGracePeriodSeconds\n\s+value: (\d+)`).FindSubmatch(b)
	if match == nil {
		t.Fatal("worker.yaml sets no terminationGracePeriodSeconds")
	}
	n, _ := strconv.Atoi(string(match[1]))
	pod, preStop := time.Duration(n)*time.Second, 5*time.Second
	call, grace, ack := seconds("SUPPLIER_TIMEOUT"), seconds("SHUTDOWN_GRACE"), seconds("ORDER_ACK_WAIT")
	if call >= grace || grace+preStop >= pod {
		t.Errorf("supplier call %s < grace %s < pod %s (less preStop %s) does not hold", call, grace, pod, preStop)
	}
	if call >= ack {
		t.Errorf("supplier call %s < ack wait %s does not hold", call, ack)
	}
}

// KEDA finds nothing, silently, if it looks for a consumer that is not there.
func TestScalersNameWhatStands(t *testing.T) {
	topo := bus.NewTopology(bus.DefaultSettings())
	base := read(t, "k8s/base/*.yaml")
	seen := map[string]bool{}
	for _, m := range read(t, "k8s/components/keda/*.yaml") {
		if m.Kind != "ScaledObject" {
			continue
		}
		named(t, base, m.Spec.ScaleTargetRef.Kind, m.Spec.ScaleTargetRef.Name)
		for _, tr := range m.Spec.Triggers {
			if tr.Type != "nats-jetstream" {
				continue
			}
			stream, consumer := tr.Metadata["stream"], tr.Metadata["consumer"]
			seen[stream+"/"+consumer] = true
			found := false
			for _, c := range topo.Consumers[stream] {
				found = found || c.Durable == consumer
			}
			if !found {
				t.Errorf("%s: there is no consumer %s of %s", m.Metadata.Name, consumer, stream)
			}
			for _, name := range []string{"natsServerMonitoringEndpoint", "account", "lagThreshold", "activationLagThreshold", "useHttps"} {
				if tr.Metadata[name] == "" {
					t.Errorf("%s: %s is left to KEDA's default", m.Metadata.Name, name)
				}
			}
			if strings.Contains(tr.Metadata["natsServerMonitoringEndpoint"], "://") {
				t.Errorf("%s: the monitoring endpoint has a scheme", m.Metadata.Name)
			}
			if a := tr.Metadata["account"]; !strings.Contains(bus.UsersConf(), "\n  "+a+" {") {
				t.Errorf("%s: there is no account %s", m.Metadata.Name, a)
			}
		}
	}
	// The other way round: what waits for orderer, cdrpull and archiver scales them.
	want := []string{bus.StreamCDR + "/" + bus.ConsumerCDRPull}
	for _, c := range topo.Consumers[bus.StreamOrders] {
		want = append(want, bus.StreamOrders+"/"+c.Durable)
	}
	for _, stream := range bus.ArchivedStreams {
		want = append(want, stream+"/"+bus.ConsumerArchiver(stream))
	}
	for _, w := range want {
		if !seen[w] {
			t.Errorf("nothing is scaled by consumer %s", w)
		}
	}
}

// More replicas than the consumer's cap lets work would stand idle.
func TestOrdererScalesNoFurtherThanItsCap(t *testing.T) {
	m := named(t, read(t, "k8s/components/keda/*.yaml"), "ScaledObject", "orderer")
	var perReplica int
	for _, f := range service.Fields(&orderer.Config{}) {
		if f.Name == "ORDER_CONCURRENCY" {
			perReplica, _ = strconv.Atoi(f.Default)
		}
	}
	if limit := bus.DefaultSettings().MaxInFlight; perReplica == 0 || m.Spec.MaxReplicaCount*perReplica > limit {
		t.Errorf("%d replicas of %d orders each are above the cap of %d", m.Spec.MaxReplicaCount, perReplica, limit)
	}
}

// cdrpull reaches the FTP server's data ports, all of them and no others.
func TestPassivePortsAreOpen(t *testing.T) {
	conf, err := os.ReadFile("ftp/vsftpd.conf")
	if err != nil {
		t.Fatal(err)
	}
	number := func(name string) int {
		m := regexp.MustCompile(`(?m)^` + name + `=(\d+)$`).FindSubmatch(conf)
		if m == nil {
			t.Fatalf("vsftpd.conf does not set %s", name)
		}
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	low, high := number("pasv_min_port"), number("pasv_max_port")
	policy := named(t, read(t, "k8s/components/networkpolicy/*.yaml"), "NetworkPolicy", "ftp")
	for _, p := range policy.Spec.Egress[0].Ports {
		if p.Port == low && p.EndPort == high {
			return
		}
	}
	t.Errorf("the policy ftp does not open %d to %d", low, high)
}
