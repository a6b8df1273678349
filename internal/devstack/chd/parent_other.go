//go:build !linux

package chd

import (
	"os/exec"
	"syscall"
)

// dieWithParent: Ctrl-C in the terminal reaches us alone. The child notices our
// death by the end of its standard input.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
