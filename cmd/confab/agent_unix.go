//go:build unix

package main

import "syscall"

// detached makes a process outlive the terminal that it was started on.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
