package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
)

func deadCommand() *cobra.Command {
	c := &cobra.Command{Use: "dead", Short: "Look into the messages that could not be taken, and replay them"}
	c.AddCommand(deadListCommand(), deadShowCommand(), deadReplayCommand())
	return c
}

// deadFilter picks dead letters.
type deadFilter struct{ stream, reason string }

func (f *deadFilter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.stream, "stream", "", "only letters from this stream (ORDERS, EVIDENCE, WEBHOOKS, …)")
	c.Flags().StringVar(&f.reason, "reason", "", "only letters with this reason (conflict, schema, …)")
}

// letters walks through the dead letters that there are now, oldest first.
func (f *deadFilter) letters(ctx context.Context, b *bus.Bus, each func(seq uint64, at time.Time, m jetstream.Msg) error) error {
	subject := bus.SubjectDead("*")
	if f.stream != "" {
		subject = bus.SubjectDead(f.stream)
	}
	last, found, err := b.LastFromLeader(ctx, bus.StreamDead, subject)
	if err != nil || !found {
		return err
	}
	cons, err := b.JS.OrderedConsumer(ctx, bus.StreamDead, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	for {
		m, err := cons.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			return fmt.Errorf("dead letters: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("dead letters: %w", err)
		}
		if f.reason == "" || m.Headers().Get(bus.HeaderReason) == f.reason {
			if err := each(meta.Sequence.Stream, meta.Timestamp, m); err != nil {
				return err
			}
		}
		if meta.Sequence.Stream >= last.Sequence {
			return nil
		}
	}
}

func deadListCommand() *cobra.Command {
	var f deadFilter
	c := &cobra.Command{
		Use:   "list",
		Short: "List dead letters",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := connect()
			if err != nil {
				return err
			}
			defer b.Close()
			t := table.NewWriter()
			t.SetOutputMirror(cmd.OutOrStdout())
			t.AppendHeader(table.Row{"seq", "at", "came on", "reason", "error"})
			err = f.letters(cmd.Context(), b, func(seq uint64, at time.Time, m jetstream.Msg) error {
				h := m.Headers()
				t.AppendRow(table.Row{seq, at.UTC().Format(time.RFC3339), h.Get(bus.HeaderOrigin), h.Get(bus.HeaderReason), h.Get(bus.HeaderError)})
				return nil
			})
			if err != nil {
				return err
			}
			t.Render()
			return nil
		},
	}
	f.flags(c)
	return c
}

func deadShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show SEQ",
		Short: "Print a dead letter whole, headers and body",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := connect()
			if err != nil {
				return err
			}
			defer b.Close()
			_, m, err := deadLetter(cmd.Context(), b, args[0])
			if err != nil {
				return err
			}
			for name, values := range m.Header {
				for _, v := range values {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", name, v)
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "\n%s\n", m.Data)
			return nil
		},
	}
}

func deadLetter(ctx context.Context, b *bus.Bus, arg string) (jetstream.Stream, *jetstream.RawStreamMsg, error) {
	seq, err := strconv.ParseUint(arg, 10, 64)
	if err != nil {
		return nil, nil, fmt.Errorf("%q is not a sequence (see `simctl dead list`)", arg)
	}
	s, err := b.JS.Stream(ctx, bus.StreamDead)
	if err != nil {
		return nil, nil, fmt.Errorf("stream %s: %w", bus.StreamDead, err)
	}
	m, err := s.GetMsg(ctx, seq)
	if err != nil {
		return nil, nil, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	return s, m, nil
}

func deadReplayCommand() *cobra.Command {
	var f deadFilter
	var keep, all bool
	c := &cobra.Command{
		Use:   "replay [SEQ…]",
		Short: "Publish dead letters again where they came from, and remove them from DEAD",
		Long: "Publish dead letters again where they came from, and remove them from DEAD. Name them by sequence,\n" +
			"or pick them with --stream, --reason or --all. An order that is there already is not bought again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && f == (deadFilter{}) && !all {
				return errors.New("which? name sequences, or give --stream, --reason or --all")
			}
			b, err := connect()
			if err != nil {
				return err
			}
			defer b.Close()
			if len(args) == 0 {
				err := f.letters(cmd.Context(), b, func(seq uint64, _ time.Time, m jetstream.Msg) error {
					if m.Subject() == bus.SubjectDead(bus.StreamOrderEvents) && f.stream == "" {
						return nil // what contradicts an order, no message
					}
					args = append(args, strconv.FormatUint(seq, 10))
					return nil
				})
				if err != nil {
					return err
				}
			}
			for _, arg := range args {
				if err := replay(cmd.Context(), b, arg, keep); err != nil {
					return err
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "replayed %d\n", len(args))
			return nil
		},
	}
	f.flags(c)
	c.Flags().BoolVar(&all, "all", false, "every dead letter")
	c.Flags().BoolVar(&keep, "keep", false, "leave them in DEAD as well")
	return c
}

// replay publishes one dead letter on the subject that it came on.
func replay(ctx context.Context, b *bus.Bus, arg string, keep bool) error {
	s, m, err := deadLetter(ctx, b, arg)
	if err != nil {
		return err
	}
	subject := m.Header.Get(bus.HeaderOrigin)
	if subject == "" {
		return fmt.Errorf("dead letter %s does not say where it came from", arg)
	}
	if m.Subject == bus.SubjectDead(bus.StreamOrderEvents) {
		return fmt.Errorf("dead letter %s is what contradicts an order, no message to replay: settle it with `simctl order`, then leave it", arg)
	}
	out := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: m.Data}
	for name, values := range m.Header {
		if !strings.HasPrefix(name, "Simline-") && !strings.HasPrefix(name, "Nats-") {
			out.Header[name] = values
		}
	}
	// Not the first one's message id: within the duplicate window it would be dropped.
	out.Header.Set(bus.HeaderMsgID, "replay:"+arg+":"+strconv.FormatInt(m.Time.UnixNano(), 10))
	if _, err := b.Publish(ctx, out); err != nil {
		return fmt.Errorf("replay dead letter %s: %w", arg, err)
	}
	// If we die here: it is replayed and still in DEAD; a second replay within two
	// minutes is dropped by its message id, and later ones find the order there.
	if keep {
		return nil
	}
	if err := s.DeleteMsg(ctx, m.Sequence); err != nil {
		return fmt.Errorf("remove dead letter %s, which was replayed: %w", arg, err)
	}
	return nil
}
