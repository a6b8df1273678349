package chd

import (
	"os/exec"
	"syscall"
)

// dieWithParent: the kernel kills the child when we die, kill -9 included, and
// Ctrl-C in the terminal reaches us alone.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
