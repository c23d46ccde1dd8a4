package mls_test

import (
	"runtime"
	"slices"
	"syscall"
	"time"
)

// cost is one measurement.
type cost struct {
	cpu, wall time.Duration
	allocs    float64
	bytes     int // of what is sent
}

// timed measures one call. CPU is that of the process: mls-go encrypts paths
// in parallel, and on another machine as many cores may be free or none.
func timed(f func()) cost {
	var before, after syscall.Rusage
	var m0, m1 runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m0)
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	start := time.Now()
	f()
	wall := time.Since(start)
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	runtime.ReadMemStats(&m1)
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	return cost{cpu: cpu, wall: wall, allocs: float64(m1.Mallocs - m0.Mallocs)}
}

// per divides by the number of operations in one measurement.
func (c cost) per(n int) cost {
	return cost{c.cpu / time.Duration(n), c.wall / time.Duration(n), c.allocs / float64(n), c.bytes}
}

// row compares one operation: samples of talk/mls and of mls-go, taken in turns.
type row struct {
	op         string
	ours, them []cost
}

// median of the CPU times, with the figures that belong to it.
func median(list []cost) cost {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b cost) int { return int(a.cpu - b.cpu) })
	return list[len(list)/2]
}

func short(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}
