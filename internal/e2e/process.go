package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/simline/simline/internal/devstack/freeport"
)

// Workers are the five binaries, in the order in which they start.
var Workers = []string{"archiver", "orderer", "ingest", "cdrpull", "reconciler"}

// Build compiles commands, all of them if none is named, into dir.
func Build(ctx context.Context, dir string, commands ...string) error {
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, c := range commands {
		args = append(args, "./cmd/"+c)
	}
	if len(commands) == 0 {
		args = append(args, "./cmd/...")
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the workers: %w\n%s", err, out)
	}
	return nil
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// Process is one worker that runs, or ran.
type Process struct {
	Name  string
	Admin string // http://127.0.0.1:port

	path string
	env  []string
	log  string

	mu      sync.Mutex
	cmd     *exec.Cmd
	done    chan struct{}
	err     error
	peak    int64         // bytes, over every life of the process
	cpu     time.Duration // of the lives that ended
	cpuNow  time.Duration // of this life, when it was last sampled
	started int
}

// NewProcess prepares a worker: its binary in bin, its own admin port, env on
// top of nothing but PATH and HOME, its log appended to dir/name.log.
func NewProcess(name, bin, dir string, env []string) (*Process, error) {
	port, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	admin := "127.0.0.1:" + strconv.Itoa(port)
	base := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "ADMIN_ADDR=" + admin, "LOG_FORMAT=json"}
	return &Process{Name: name, Admin: "http://" + admin, path: filepath.Join(bin, name), env: append(base, env...), log: filepath.Join(dir, name+".log")}, nil
}

// Start runs the binary and returns once it is ready.
func (p *Process) Start(ctx context.Context) error {
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(p.path)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to hand on
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	done := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.done, p.err, p.started = cmd, done, nil, p.started+1
	p.cpu, p.cpuNow = p.cpu+p.cpuNow, 0
	p.mu.Unlock()
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(done)
	}()
	return p.waitReady(ctx)
}

// waitReady polls /readyz, the way Kubernetes would.
func (p *Process) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last string
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Admin+"/readyz", nil)
		if err != nil {
			return err
		}
		if res, err := httpClient.Do(req); err == nil {
			b, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			last = string(b)
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.Name, p.exit(), p.Tail(20))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %s\n%s", p.Name, last, p.Tail(20))
		case <-tick.C:
		}
	}
}

var httpClient = &http.Client{Timeout: 10 * time.Second}

func (p *Process) exit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Running says whether the process lives.
func (p *Process) Running() bool {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done == nil {
		return false
	}
	select {
	case <-done:
		return false
	default:
		return true
	}
}

// Kill ends it as a crash does, and waits for its end.
func (p *Process) Kill() error {
	p.Sample()
	return p.signal(syscall.SIGKILL, time.Minute)
}

// Stop asks it to drain and waits at most limit; it must then exit with 0.
func (p *Process) Stop(limit time.Duration) error {
	if !p.Running() {
		return nil
	}
	p.Sample()
	if err := p.signal(syscall.SIGTERM, limit); err != nil {
		return err
	}
	if err := p.exit(); err != nil {
		return fmt.Errorf("%s did not stop cleanly: %w\n%s", p.Name, err, p.Tail(20))
	}
	return nil
}

// Freeze stops it in whatever it does, as a machine that is too busy does; Thaw lets
// it go on.
func (p *Process) Freeze() error { return p.send(syscall.SIGSTOP) }

// Thaw ends a Freeze.
func (p *Process) Thaw() error { return p.send(syscall.SIGCONT) }

func (p *Process) send(sig syscall.Signal) error {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return fmt.Errorf("%s was never started", p.Name)
	}
	if err := cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

func (p *Process) signal(sig syscall.Signal, limit time.Duration) error {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return fmt.Errorf("%s was never started", p.Name)
	}
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-t.C:
		_ = cmd.Process.Kill()
		<-done
		return fmt.Errorf("%s did not end within %s of %s\n%s", p.Name, limit, sig, p.Tail(20))
	}
}

// Sample reads the peak of the process's resident memory so far, and its time on
// the processors.
func (p *Process) Sample() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	if hwm, err := peakMemory(p.cmd.Process.Pid); err == nil {
		p.peak = max(p.peak, hwm)
	}
	if used, err := cpuTime(p.cmd.Process.Pid); err == nil {
		p.cpuNow = max(p.cpuNow, used)
	}
}

// Peak is the highest resident memory seen, in bytes.
func (p *Process) Peak() int64 {
	p.Sample()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peak
}

// CPU is the time on the processors over every life of the process.
func (p *Process) CPU() time.Duration {
	p.Sample()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cpu + p.cpuNow
}

// cpuTime is a process's time in its own code and in the system's, in ticks of a
// hundredth of a second (proc(5), fields 14 and 15).
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])) // the name may hold spaces
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat of pid %d is %q", pid, b)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

func peakMemory(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if rest, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM for pid %d", pid)
}

// Tail returns the last n lines of its log.
func (p *Process) Tail(n int) string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
