package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/devstack/freeport"
)

// Nodes is how many NATS servers there are; each stream is on all of them.
const Nodes = 3

// Cluster is three NATS servers in this process that form a real cluster, each
// configured by deploy/nats/cluster.conf.
type Cluster struct {
	dir     string
	conf    string
	nodes   [Nodes]*node
	routes  []string
	clients []string
}

type node struct {
	name          string
	client, route int
	store         string
	srv           *server.Server // nil while it is down
}

// StartCluster makes everybody's keys in dir and starts the nodes.
func StartCluster(ctx context.Context, dir, conf string) (_ *Cluster, err error) {
	c := &Cluster{dir: dir, conf: conf}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	for _, user := range append([]string{"sys"}, bus.Users...) {
		if err := c.makeUser(user); err != nil {
			return nil, err
		}
	}
	for i := range c.nodes {
		n := &node{name: fmt.Sprintf("nats-%d", i), store: filepath.Join(dir, fmt.Sprintf("store-%d", i))}
		if n.client, err = freeport.Find(); err != nil {
			return nil, err
		}
		if n.route, err = freeport.Find(); err != nil {
			return nil, err
		}
		c.nodes[i] = n
		c.routes = append(c.routes, fmt.Sprintf("%q", fmt.Sprintf("nats://127.0.0.1:%d", n.route)))
		c.clients = append(c.clients, fmt.Sprintf("nats://127.0.0.1:%d", n.client))
	}
	for i := range c.nodes {
		if err := c.Start(i); err != nil {
			return nil, err
		}
	}
	return c, c.Healthy(ctx)
}

// makeUser makes a user's nkey: the seed for its worker, the public half for the
// servers' environment.
func (c *Cluster) makeUser(user string) error {
	kp, err := nkeys.CreateUser()
	if err != nil {
		return fmt.Errorf("nkey of %s: %w", user, err)
	}
	public, err := kp.PublicKey()
	if err != nil {
		return fmt.Errorf("nkey of %s: %w", user, err)
	}
	seed, err := kp.Seed()
	if err != nil {
		return fmt.Errorf("nkey of %s: %w", user, err)
	}
	if err := os.WriteFile(c.Creds(user), seed, 0o600); err != nil {
		return err
	}
	return os.Setenv("NATS_NKEY_"+strings.ToUpper(user), public)
}

// Creds is the path of a user's seed, for NATS_CREDS.
func (c *Cluster) Creds(user string) string { return filepath.Join(c.dir, user+".nk") }

// URL names all nodes, as NATS_URL takes them.
func (c *Cluster) URL() string { return strings.Join(c.clients, ",") }

// Store is where a node keeps its streams.
func (c *Cluster) Store(i int) string { return c.nodes[i].store }

// Start starts a node that is down. Its configuration is that of deployment; only
// the addresses are of this machine.
func (c *Cluster) Start(i int) error {
	n := c.nodes[i]
	for name, value := range map[string]string{"SERVER_NAME": n.name, "NATS_STORE": n.store, "NATS_ROUTES": "[" + strings.Join(c.routes, ", ") + "]"} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	opts, err := server.ProcessConfigFile(c.conf)
	if err != nil {
		return fmt.Errorf("%s: %w", c.conf, err)
	}
	opts.Host, opts.Port = "127.0.0.1", n.client
	opts.HTTPHost, opts.HTTPPort = "127.0.0.1", server.RANDOM_PORT
	opts.Cluster.Host, opts.Cluster.Port = "127.0.0.1", n.route
	opts.NoLog, opts.NoSigs, opts.DisableJetStreamBanner = true, true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	n.srv = srv
	srv.Start()
	return nil
}

// Kill ends a node without handing its leaderships over first.
func (c *Cluster) Kill(i int) {
	if s := c.nodes[i].srv; s != nil {
		s.Shutdown()
		s.WaitForShutdown()
		c.nodes[i].srv = nil
	}
}

// Leader is the node that leads a stream of ours, or -1.
func (c *Cluster) Leader(stream string) int {
	for i, n := range c.nodes {
		if n.srv != nil && n.srv.JetStreamIsStreamLeader("SIMLINE", stream) {
			return i
		}
	}
	return -1
}

// Healthy waits until the nodes that run have a leader and are current.
func (c *Cluster) Healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		led, current := false, true
		for _, n := range c.nodes {
			if n.srv != nil {
				led = led || n.srv.JetStreamIsLeader()
				current = current && n.srv.JetStreamIsCurrent()
			}
		}
		if led && current {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("the NATS cluster does not come together")
		case <-tick.C:
		}
	}
}

// Stop ends all nodes.
func (c *Cluster) Stop() {
	for i := range c.nodes {
		if c.nodes[i] != nil {
			c.Kill(i)
		}
	}
}
