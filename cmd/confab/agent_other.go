//go:build !unix

package main

import "syscall"

// detached is nothing where there are no sessions of terminals.
func detached() *syscall.SysProcAttr { return nil }
