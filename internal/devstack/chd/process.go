package chd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child that serves ClickHouse's HTTP interface.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer // its end asks the child to stop; nil if it wants SIGTERM
	stderr *tail
	exited chan struct{}
	err    error // of Wait; read it after exited
}

// launch starts cmd so that it dies with us. The thread that starts it must
// live as long as the child: the kernel's parent-death signal is the thread's.
// gone is called once the child is gone, and may be nil.
func launch(cmd *exec.Cmd, stdin io.Closer, gone func()) (*process, error) {
	p := &process{cmd: cmd, stdin: stdin, stderr: &tail{}, exited: make(chan struct{})}
	cmd.Stderr = p.stderr
	cmd.WaitDelay = time.Second
	dieWithParent(cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			if gone != nil {
				gone()
			}
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// stop asks the child to end, waits, and kills it when it does not.
func (p *process) stop(grace time.Duration) error {
	if p.stdin != nil {
		_ = p.stdin.Close() // closed already is as good
	} else {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // gone already is as good
	}
	select {
	case <-p.exited:
		if p.err != nil && p.stdin != nil { // after SIGTERM any status will do
			return fmt.Errorf("engine: %w: %s", p.err, p.stderr)
		}
		return nil
	case <-time.After(grace):
		p.kill()
		return fmt.Errorf("engine did not stop within %s and was killed", grace)
	}
}

// kill is kill -9: what was acknowledged must be there when the directory is
// opened again.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already is as good
	<-p.exited
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
}

// startLibrary starts this program again as the engine.
func startLibrary(cfg childConfig) (*process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(self)
	// Under the race detector a program would sleep a second before it exits.
	cmd.Env = append(os.Environ(), childEnv+"=1", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, "", fmt.Errorf("pipe to the engine: %w", err)
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, "", fmt.Errorf("pipe from the engine: %w", err)
	}
	defer outRead.Close()
	cmd.Stdout = outWrite
	p, err := launch(cmd, stdin, nil)
	outWrite.Close()
	if err != nil {
		return nil, "", err
	}
	ready, err := handshake(stdin, outRead, cfg)
	if err != nil {
		p.kill()
		if said := p.stderr.String(); said != "" && !strings.Contains(said, err.Error()) {
			err = fmt.Errorf("%w; it said: %s", err, said)
		}
		return nil, "", err
	}
	return p, ready.Addr, nil
}

func handshake(stdin io.Writer, stdout *os.File, cfg childConfig) (childReady, error) {
	var ready childReady
	if err := json.NewEncoder(stdin).Encode(cfg); err != nil {
		return ready, fmt.Errorf("configure it: %w", err)
	}
	// A large store takes a while to load; nothing at all for a minute is a fault.
	if err := stdout.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return ready, fmt.Errorf("wait for it: %w", err)
	}
	if err := json.NewDecoder(stdout).Decode(&ready); err != nil {
		return ready, fmt.Errorf("wait for it: %w", err)
	}
	if ready.Error != "" {
		return ready, errors.New(ready.Error)
	}
	return ready, nil
}

// tail keeps the last of what a child wrote to standard error, for messages.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	const most = 4 << 10
	if n := len(t.buf) - most; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(bytes.ToValidUTF8(t.buf, nil)))
}
