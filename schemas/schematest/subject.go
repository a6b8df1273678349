package schematest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/simline/simline/schemas"
)

// subjects say which type lies on which subject. They are written out here, and
// not taken from the bus package, because they are what a stranger reads.
var subjects = []struct {
	subject *regexp.Regexp
	typ     string
}{
	{regexp.MustCompile(`^orders\.v1\.request\.`), "order.request.v1"},
	{regexp.MustCompile(`^orders\.v1\.cancel\.`), "order.cancel.v1"},
	{regexp.MustCompile(`^orders\.v1\.event\.`), "order.event.v1"},
	{regexp.MustCompile(`^orders\.v1\.evidence\.`), "evidence.v1"},
	{regexp.MustCompile(`^cdr\.v1\.file\.`), "cdr.file.v1"},
	{regexp.MustCompile(`^cdr\.v1\.loaded\.`), "cdr.loaded.v1"},
	{regexp.MustCompile(`^cdr\.v1\.gap\.`), "cdr.gap.v1"},
	{regexp.MustCompile(`^recon\.v1\.finding\.`), "finding.v1"},
	{regexp.MustCompile(`^audit\.v1\.`), "audit.v1"},
	{regexp.MustCompile(`^tasks\.v1\.track\.`), "task.track.v1"},
	{regexp.MustCompile(`^tasks\.v1\.ended\.`), "task.ended.v1"},
}

// TypeOf is the type of what lies on a subject, "" if it may be anything (a dead
// letter). A notification's is that of its event, if the event has a schema.
func TypeOf(subject string) string {
	if rest, ok := strings.CutPrefix(subject, "webhooks.v1."); ok {
		event := rest[strings.LastIndexByte(rest, '.')+1:]
		if _, err := schemas.JSON.Open("json/webhook." + event + ".v1.json"); err == nil {
			return "webhook." + event + ".v1"
		}
		return "webhook.v1"
	}
	for _, s := range subjects {
		if s.subject.MatchString(subject) {
			return s.typ
		}
	}
	return ""
}

// CheckMessage says why a message does not fit what its subject promises, or nil.
func CheckMessage(tb testing.TB, subject string, message []byte) error {
	tb.Helper()
	if typ := TypeOf(subject); typ != "" {
		return Check(tb, typ, message)
	}
	return nil
}
