package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/e2e"
)

// misfortune is something that happens to a running site and is over when it
// returns.
type misfortune struct {
	name string
	do   func(context.Context, *Site, *rand.Rand) error
}

// misfortunes are all of them, in the order of a round.
var misfortunes = []misfortune{
	{"the node that leads the ledger is killed, and comes back", killLeader},
	{"a worker of each kind is killed", killWorkers},
	{"everything is restarted in turn", restartAll},
	{"a node's disk is full", fillDisk},
}

// shortMisfortunes are those that any machine can bring about.
var shortMisfortunes = misfortunes[:3]

// killLeader kills the node on which most hangs, and starts it again.
func killLeader(ctx context.Context, s *Site, rng *rand.Rand) error {
	i := s.Cluster.Leader(bus.StreamOrderEvents)
	if i < 0 {
		i = rng.IntN(Nodes)
	}
	s.say("  nats-" + fmt.Sprint(i))
	s.Cluster.Kill(i)
	if err := pause(ctx, s.lull); err != nil {
		return err
	}
	if err := s.Cluster.Start(i); err != nil {
		return err
	}
	return s.Cluster.Healthy(ctx)
}

// killWorkers kills one replica of each worker, one after the other at random
// distances, and starts each again.
func killWorkers(ctx context.Context, s *Site, rng *rand.Rand) error {
	var g errgroup.Group
	for _, i := range rng.Perm(len(e2e.Workers)) {
		list := s.Replicas[e2e.Workers[i]]
		p := list[rng.IntN(len(list))]
		s.say("  " + p.Name)
		if err := p.Kill(); err != nil {
			return err
		}
		g.Go(func() error { return p.Start(ctx) })
		if err := pause(ctx, time.Duration(rng.Int64N(int64(s.lull)/4))); err != nil {
			return err
		}
	}
	return g.Wait()
}

// restartAll is a rollout: of each worker replica by replica, then of the nodes one
// by one.
func restartAll(ctx context.Context, s *Site, _ *rand.Rand) error {
	var g errgroup.Group
	for _, name := range e2e.Workers {
		g.Go(func() error {
			for _, p := range s.Replicas[name] {
				if err := p.Stop(30 * time.Second); err != nil {
					return err
				}
				if err := p.Start(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range Nodes {
		s.Cluster.Kill(i)
		if err := s.Cluster.Start(i); err != nil {
			return err
		}
		if err := s.Cluster.Healthy(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fillDisk puts a node's store on a small file system, fills that, makes room again
// and restarts the node, which refuses to write until then. Where this process may
// not mount, nothing happens.
func fillDisk(ctx context.Context, s *Site, rng *rand.Rand) (err error) {
	i := rng.IntN(Nodes)
	store := s.Cluster.Store(i)
	s.Cluster.Kill(i)
	used, err := sizeOf(store)
	if err != nil {
		return err
	}
	aside := store + ".aside"
	if err := os.Rename(store, aside); err != nil {
		return err
	}
	back := func() error { return errors.Join(os.RemoveAll(store), os.Rename(aside, store)) }
	if err := os.Mkdir(store, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", store, "tmpfs", 0, fmt.Sprintf("size=%d", used+64<<20)); err != nil {
		s.say("  left out: this process may not mount: " + err.Error())
		return errors.Join(back(), s.Cluster.Start(i), s.Cluster.Healthy(ctx))
	}
	defer func() {
		// Room again, and a restart. What the node wrote stays its own: a node that was
		// put back to an earlier state would break the others' promises.
		s.Cluster.Kill(i)
		after := store + ".after"
		err = errors.Join(err, os.Remove(filepath.Join(store, "filler")), os.CopyFS(after, os.DirFS(store)), syscall.Unmount(store, syscall.MNT_DETACH),
			os.Remove(store), os.Rename(after, store), os.RemoveAll(aside), s.Cluster.Start(i), s.Cluster.Healthy(ctx))
	}()
	if err := os.CopyFS(store, os.DirFS(aside)); err != nil {
		return err
	}
	if err := s.Cluster.Start(i); err != nil {
		return err
	}
	if err := s.Cluster.Healthy(ctx); err != nil {
		return err
	}
	s.say(fmt.Sprintf("  nats-%d", i))
	filler := filepath.Join(store, "filler")
	if err := fill(filler); err != nil {
		return err
	}
	return pause(ctx, s.lull)
}

// fill writes until nothing more goes in.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func sizeOf(dir string) (int64, error) {
	var n int64
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	return n, err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
