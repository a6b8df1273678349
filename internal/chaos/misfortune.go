package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/simline/simline/internal/devstack/natsd"
)

// misfortune happens to a running site and is over when it returns.
type misfortune struct {
	name string
	do   func(*Site, context.Context, *rand.Rand) error
}

var (
	killed  = misfortune{"kill -9", (*Site).kill}
	stopped = misfortune{"SIGSTOP past AckWait", (*Site).freeze}
	cutOff  = misfortune{"NATS stopped and restarted", (*Site).restartNATS}
)

func (s *Site) kill(ctx context.Context, rng *rand.Rand) error {
	p := s.replicas[rng.IntN(len(s.replicas))]
	if err := p.Kill(); err != nil {
		return err
	}
	if err := pause(ctx, time.Duration(rng.IntN(500))*time.Millisecond); err != nil {
		return err
	}
	return p.Start(ctx)
}

// freeze stops a replica in whatever it does until its orders are others', and then
// lets it go on.
func (s *Site) freeze(ctx context.Context, rng *rand.Rand) error {
	p := s.replicas[rng.IntN(len(s.replicas))]
	if err := p.Freeze(); err != nil {
		return err
	}
	err := pause(ctx, s.cfg.AckWait+s.timeout()+time.Duration(rng.IntN(1000))*time.Millisecond)
	if thaw := p.Thaw(); thaw != nil {
		return thaw
	}
	return err
}

func (s *Site) restartNATS(ctx context.Context, rng *rand.Rand) error {
	if err := s.nats.Shutdown(); err != nil {
		return err
	}
	s.nats = nil
	if err := pause(ctx, 500*time.Millisecond+time.Duration(rng.IntN(1500))*time.Millisecond); err != nil {
		return err
	}
	var err error
	s.nats, err = natsd.Start(s.natsCfg)
	return err
}

// suffer lets one misfortune of a list happen after the other, all of them once and
// then until ctx ends, and says how many of each did. A replica that ended by itself, as one may whose NATS
// is gone, is started again, as Kubernetes does.
func (s *Site) suffer(ctx context.Context, rng *rand.Rand, list []misfortune, between time.Duration) (map[string]int, error) {
	n := map[string]int{}
	for i := 0; ; i++ {
		over := ctx
		if i < len(list) {
			over = context.WithoutCancel(ctx)
		}
		if err := pause(over, between/2+time.Duration(rng.Int64N(int64(between)))); err != nil {
			return n, nil
		}
		m := list[i%len(list)]
		s.cfg.Say(m.name)
		// What was begun is ended: nothing stays stopped.
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
		err := m.do(s, whole, rng)
		if err == nil {
			err = s.revive(whole)
		}
		cancel()
		if err != nil {
			return n, fmt.Errorf("%s: %w", m.name, err)
		}
		n[m.name]++
	}
}

func (s *Site) revive(ctx context.Context) error {
	for _, p := range s.replicas {
		if p.Running() {
			continue
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rollOut restarts replica after replica, each as Kubernetes does: SIGTERM, and the
// next one once it is ready again.
func (s *Site) rollOut(ctx context.Context) error {
	for _, p := range s.replicas {
		if err := p.Stop(40 * time.Second); err != nil {
			return err
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}
