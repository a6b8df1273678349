package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Change is one thing that Provision would make or change.
type Change struct {
	Kind string `json:"kind"` // stream, consumer or bucket
	Name string `json:"name"` // a consumer's as STREAM/consumer
	// What is "make", or which settings differ: "max_ack_pending 256 → 64".
	What string `json:"what"`
}

// Plan compares what stands on the server with what Provision would make, and
// changes nothing.
func (b *Bus) Plan(ctx context.Context, s Settings) ([]Change, error) {
	t := NewTopology(s)
	var out []Change
	note := func(kind, name string, differs []string) {
		if len(differs) > 0 {
			out = append(out, Change{kind, name, strings.Join(differs, "; ")})
		}
	}
	for _, sc := range t.Streams {
		st, err := b.JS.Stream(ctx, sc.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			note("stream", sc.Name, []string{"make"})
			for _, cc := range t.Consumers[sc.Name] {
				note("consumer", sc.Name+"/"+cc.Durable, []string{"make"})
			}
			continue
		case err != nil:
			return nil, fmt.Errorf("stream %s: %w", sc.Name, err)
		}
		note("stream", sc.Name, streamDiffers(st.CachedInfo().Config, sc))
		for _, cc := range t.Consumers[sc.Name] {
			cons, err := b.JS.Consumer(ctx, sc.Name, cc.Durable)
			switch {
			case errors.Is(err, jetstream.ErrConsumerNotFound):
				note("consumer", sc.Name+"/"+cc.Durable, []string{"make"})
			case err != nil:
				return nil, fmt.Errorf("consumer %s of %s: %w", cc.Durable, sc.Name, err)
			default:
				note("consumer", sc.Name+"/"+cc.Durable, consumerDiffers(cons.CachedInfo().Config, cc))
			}
		}
	}
	for _, kc := range t.Buckets {
		st, err := b.JS.Stream(ctx, StreamKV(kc.Bucket))
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			note("bucket", kc.Bucket, []string{"make"})
		case err != nil:
			return nil, fmt.Errorf("bucket %s: %w", kc.Bucket, err)
		default:
			note("bucket", kc.Bucket, bucketDiffers(st.CachedInfo().Config, kc))
		}
	}
	return out, nil
}

// differs lists the settings that are not as wanted.
type differs []string

func (d *differs) see(name string, have, want any) {
	if !reflect.DeepEqual(have, want) {
		*d = append(*d, fmt.Sprintf("%s %v → %v", name, have, want))
	}
}

func streamDiffers(have, want jetstream.StreamConfig) []string {
	var d differs
	slices.Sort(have.Subjects)
	want.Subjects = slices.Sorted(slices.Values(want.Subjects))
	d.see("subjects", have.Subjects, want.Subjects)
	d.see("retention", have.Retention, want.Retention)
	d.see("discard", have.Discard, want.Discard)
	d.see("max_age", have.MaxAge, want.MaxAge)
	d.see("duplicate_window", have.Duplicates, want.Duplicates)
	d.see("replicas", max(have.Replicas, 1), max(want.Replicas, 1))
	d.see("allow_direct", have.AllowDirect, want.AllowDirect)
	d.see("allow_atomic", have.AllowAtomicPublish, want.AllowAtomicPublish)
	d.see("deny_delete", have.DenyDelete, want.DenyDelete)
	return d
}

func consumerDiffers(have, want jetstream.ConsumerConfig) []string {
	var d differs
	d.see("filter", filtersOf(have), filtersOf(want))
	d.see("ack_policy", have.AckPolicy, want.AckPolicy)
	d.see("ack_wait", have.AckWait, want.AckWait)
	d.see("max_deliver", have.MaxDeliver, want.MaxDeliver)
	d.see("max_ack_pending", have.MaxAckPending, want.MaxAckPending)
	return d
}

// filtersOf are a consumer's filters, sorted.
func filtersOf(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return slices.Sorted(slices.Values(c.FilterSubjects))
}

func bucketDiffers(have jetstream.StreamConfig, want jetstream.KeyValueConfig) []string {
	var d differs
	d.see("history", have.MaxMsgsPerSubject, int64(cmp.Or(want.History, 1)))
	d.see("replicas", max(have.Replicas, 1), max(want.Replicas, 1))
	d.see("marker_ttl", have.SubjectDeleteMarkerTTL, want.LimitMarkerTTL)
	d.see("allow_atomic", have.AllowAtomicPublish, true)
	return d
}
