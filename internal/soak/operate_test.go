package soak

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
)

// notHere are the page's commands that need more than one machine, by how they
// begin, with where else they are held to what there is.
var notHere = map[string]string{
	"kubectl ":     "a cluster: TestPageNamesWhatThereIs of deploy holds names and paths to the manifests",
	"make images":  "make images-check",
	"for u in ":    "keys: the cluster of this test has one for each of bus.Users",
	"nk -gen user": "as above",
	"done":         "as above",
}

// commands are the lines of the page's shell blocks, without their comments.
func commands(t *testing.T, page string) []string {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
		for line := range strings.SplitSeq(block[1], "\n") {
			line, _, _ = strings.Cut(line, "  #")
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	}
	return out
}

// walkThePage does what docs/operate.md tells a newcomer, command by command, on a
// site that runs: each is run with its user's rights and must succeed.
func walkThePage(t *testing.T, s *Site, root, bin string) {
	t.Helper()
	dir := t.TempDir()
	editor := filepath.Join(dir, "editor")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nsed -i 's/\"nobody\"/\"default\"/' \"$1\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "USER=newcomer", "EDITOR=" + editor,
		"NATS_URL=" + s.Cluster.URL(), "NATS_CREDS=" + s.Cluster.Creds(bus.UserOperator), "CLICKHOUSE_DSN=" + value(s.Stack.Env(), "CLICKHOUSE_DSN")}
	run := func(line string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.Env, cmd.Dir = env, filepath.Dir(s.Cluster.Creds(bus.UserOperator))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// dead is the newest letter that waits.
	sequence := regexp.MustCompile(`"seq(?:uence)?":\s*(\d+)`)
	dead := func() string {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for {
			out, err := run("simctl dlq ls --error unknown_account -o json")
			if all := sequence.FindAllStringSubmatch(out, -1); err == nil && len(all) > 0 {
				return all[len(all)-1][1]
			}
			if time.Now().After(deadline) {
				t.Fatalf("no dead letter: %v\n%s", err, out)
			}
			<-time.After(50 * time.Millisecond)
		}
	}
	card := simeiotclub.SeedICCID
	for i := range 2 {
		body := fmt.Sprintf(`{"order_id":"walk-%d","supplier":"eiotclub","product":"package","account":"nobody","iccid":%q,"package_code":%q}`, i, card, simeiotclub.PackageCode)
		if _, err := s.Bus.Publish(t.Context(), bus.NewMsg(bus.SubjectRequest(order.EIOTCLUB, order.ProductPackage), "", []byte(body))); err != nil {
			t.Fatal(err)
		}
	}
	copies := filepath.Join(dir, "copies")
	walked := 0
	for _, line := range commands(t, filepath.Join(root, "docs/operate.md")) {
		if slices.ContainsFunc(keys(notHere), func(prefix string) bool { return strings.HasPrefix(line, prefix) }) || strings.HasPrefix(line, "export ") {
			continue
		}
		if !regexp.MustCompile(`^([A-Z_]+=\S+ )?simctl `).MatchString(line) {
			t.Errorf("%s: is neither run here nor known to need more than one machine", line)
			continue
		}
		line = strings.NewReplacer("ICCID", card, "CODE", simeiotclub.PackageCode, " ID", " first-1", "DIR", copies).Replace(line)
		if strings.Contains(line, " 17") || strings.Contains(line, " 18") {
			line = regexp.MustCompile(` 1[78]\b`).ReplaceAllString(line, " "+dead())
		}
		out, err := run(line)
		walked++
		switch restores := strings.Contains(line, "simctl restore"); {
		case restores && err == nil:
			t.Errorf("%s: restored over a running cluster:\n%s", line, out)
		case !restores && err != nil:
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	if walked < 15 {
		t.Errorf("only %d commands were run: the test looks past them", walked)
	}
	t.Logf("%d commands of docs/operate.md were run", walked)
}

func keys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}
