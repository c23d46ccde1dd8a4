//go:build linux

package iavl

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/confab-chat/confab/chain/store"
)

// childTree tells this binary to be one tree alone and to say how large it is:
// "ours" or "iavl", and the names.
const childTree = "CONFAB_TEST_TREE"

// BenchmarkFootprint is what each tree takes on disk and in memory that has been
// filled, has taken 120 blocks, of which it keeps the last 100, and has proven 2,000
// names. Each is alone in a process of its own: what the database keeps beside Go's
// heap counts too.
func BenchmarkFootprint(b *testing.B) {
	for _, names := range sizes() {
		b.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			for b.Loop() {
				ours, theirs := footprint(b, "ours", names), footprint(b, "iavl", names)
				const mib = 1 << 20
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(ours.memory/mib, "ours-MiB-memory")
				b.ReportMetric(theirs.memory/mib, "iavl-MiB-memory")
				b.ReportMetric(theirs.memory/ours.memory, "iavl/ours-memory")
				b.ReportMetric(ours.disk/mib, "ours-MiB-disk")
				b.ReportMetric(theirs.disk/mib, "iavl-MiB-disk")
				b.ReportMetric(theirs.disk/ours.disk, "iavl/ours-disk")
				floor(b, "memory", ours.memory, theirs.memory, 1.2)
				floor(b, "disk", ours.disk, theirs.disk, 0.7)
			}
		})
	}
}

type size struct{ memory, disk float64 } // in bytes

var saysSize = regexp.MustCompile(`footprint: (\d+) (\d+)`)

// footprint runs one tree in a process of its own.
func footprint(b *testing.B, which string, names int) size {
	b.Helper()
	c := exec.Command(os.Args[0], "-test.run", "^$", "-test.bench", "^BenchmarkOneTree$", "-test.benchtime", "1x", "-test.timeout", "0")
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", childTree, which, names))
	out, err := c.CombinedOutput()
	m := saysSize.FindSubmatch(out)
	if err != nil || m == nil {
		b.Fatalf("%s: %v: %s", which, err, out)
	}
	memory, _ := strconv.ParseFloat(string(m[1]), 64)
	disk, _ := strconv.ParseFloat(string(m[2]), 64)
	return size{memory, disk}
}

// BenchmarkOneTree is the other process of BenchmarkFootprint.
func BenchmarkOneTree(b *testing.B) {
	var which string
	var names int
	if n, _ := fmt.Sscan(os.Getenv(childTree), &which, &names); n != 2 {
		b.Skip("it is run by BenchmarkFootprint")
	}
	home := b.TempDir()
	b.Setenv("TMPDIR", home) // where both make their folders
	open := map[string]func(*testing.B) chain{"ours": openOurs, "iavl": openTheirs}[which]
	b.Run("in", func(b *testing.B) {
		l, c := newLoad(names), open(b)
		l.fill(b, c)
		for range store.Window + 20 {
			c.block(b, l.block())
		}
		for range 2_000 {
			c.prove(b, l.pick())
		}
		memory, disk := resident(b), onDisk(b, home)
		fmt.Printf("footprint: %d %d\n", memory, disk)
		if s, ok := c.(*ours); ok && s.reader != nil {
			s.reader.Close()
		}
	})
}

// resident returns this process's resident memory in bytes.
func resident(b *testing.B) (size int64) {
	b.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			if _, err := fmt.Sscanf(rest, "%d kB", &size); err != nil {
				b.Fatal(err)
			}
			return size << 10
		}
	}
	b.Fatal("no resident memory is told")
	return 0
}

// onDisk returns the bytes of all files below a folder.
func onDisk(b *testing.B, dir string) (total int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // compactions go on
		}
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return total
}
