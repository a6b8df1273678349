package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// workQueue makes what ORDERS would be as a plain work queue, whose messages go when
// they are acknowledged, with the durables that ORDERS has.
func (s *orderStage) workQueue(ctx context.Context) (jetstream.Consumer, error) {
	const name = "BENCH_QUEUE"
	renamed := func(subjects []string) (out []string) {
		for _, subject := range subjects {
			out = append(out, benchQueue(subject))
		}
		return out
	}
	topo := bus.NewTopology(s.settings)
	for _, cfg := range topo.Streams {
		if cfg.Name != bus.StreamOrders {
			continue
		}
		cfg.Name, cfg.Retention, cfg.Subjects = name, jetstream.WorkQueuePolicy, renamed(cfg.Subjects)
		if _, err := s.bus.JS.CreateStream(ctx, cfg); err != nil {
			return nil, err
		}
	}
	for _, cfg := range topo.Consumers[bus.StreamOrders] {
		cfg.FilterSubjects = renamed(cfg.FilterSubjects)
		if _, err := s.bus.JS.CreateConsumer(ctx, name, cfg); err != nil {
			return nil, err
		}
	}
	return s.bus.JS.Consumer(ctx, name, bus.ConsumerOrderer(order.EIOTCLUB))
}

// benchQueue is a subject of ORDERS on the floor's queue.
func benchQueue(subject string) string { return "queue." + strings.TrimPrefix(subject, "orders.") }

// floor is the loop that a good engineer would write first.
func (s *orderStage) floor(ctx context.Context, n int) (float64, error) {
	cons, err := s.workQueue(ctx)
	if err != nil {
		return 0, err
	}
	if err := s.fill(ctx, benchQueue(benchRequest), n); err != nil {
		return 0, err
	}
	kv, err := s.bus.JS.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "bench_orders"})
	if err != nil {
		return 0, err
	}
	if _, err := s.bus.JS.CreateStream(ctx, jetstream.StreamConfig{Name: "BENCH", Subjects: []string{"bench.>"}}); err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	one := func(msg jetstream.Msg) error {
		var r order.Request
		if err := json.Unmarshal(msg.Data(), &r); err != nil {
			return err
		}
		revision, err := kv.Create(ctx, r.OrderID, msg.Data())
		if err != nil {
			return err
		}
		resp, err := client.Post(s.shopURL+"/api/v3/package/orderPackage", "application/json", bytes.NewReader(msg.Data()))
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		if _, err := kv.Update(ctx, r.OrderID, answer, revision); err != nil {
			return err
		}
		if _, err := s.bus.JS.Publish(ctx, "bench."+r.OrderID, answer, jetstream.WithMsgID(r.OrderID)); err != nil {
			return err
		}
		return msg.DoubleAck(ctx)
	}
	begin := time.Now()
	it, err := cons.Messages(jetstream.PullMaxMessages(64))
	if err != nil {
		return 0, err
	}
	defer it.Stop()
	slots, errs := make(chan struct{}, 64), make(chan error, n)
	for range n {
		msg, err := it.Next()
		if err != nil {
			return 0, err
		}
		slots <- struct{}{}
		go func() {
			errs <- one(msg)
			<-slots
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}
