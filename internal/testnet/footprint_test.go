//go:build unix

package testnet_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// BenchmarkFootprint measures what a validator takes on disk for each op that it
// keeps, and in memory, in a process of its own, and what a light client takes in
// memory that has looked up a thousand accounts.
func BenchmarkFootprint(b *testing.B) {
	n := start(b, testnet.Spec{Params: benchParams(), Validators: 1, Pause: 200 * time.Millisecond})
	people := settle(b, n, 1000)
	before, total, opSize := weigh(b, n.Home(0)), 0, 0
	for b.Loop() {
		var ops [][]byte
		for range 50 {
			for _, who := range people {
				ops = append(ops, who.update(b, n))
			}
		}
		submitAll(b, n, ops)
		total, opSize = total+len(ops), len(ops[0])
	}
	client := clientMemory(b, n, people)
	if err := n.StopOne(0); err != nil {
		b.Fatal(err)
	}
	after, each := weigh(b, n.Home(0)), 0.0
	for part, size := range after {
		took := float64(size-before[part]) / float64(total)
		b.ReportMetric(took, "B/op-in-"+part)
		each += took
	}
	c := spawn(b, n.Home(0), "", -1)
	serving(b, n)
	validator := float64(resident(b, c.Process.Pid))
	b.ReportMetric(validator/(1<<20), "MiB-validator")
	b.ReportMetric(client/(1<<20), "MiB-client")
	b.ReportMetric(each/float64(opSize), "disk/op-bytes")
	b.ReportMetric(0, "ns/op")
	c.end(b)
	if os.Getenv("CONFAB_LONG") == "" {
		return
	}
	// Nothing else to compare with: the bytes of the op itself are in every block.
	for _, at := range []struct {
		what      string
		got, most float64
	}{
		{"MiB resident of a validator", validator / (1 << 20), maxValidatorMiB},
		{"MiB resident of a light client", client / (1 << 20), maxClientMiB},
		{"bytes on disk for a byte of an op", each / float64(opSize), maxDiskRatio},
	} {
		if at.got > at.most {
			b.Errorf("%.1f %s, at most %.1f are promised", at.got, at.what, at.most)
		}
	}
}

// What a long run asserts. Measured: 114 to 198 MiB, 15 MiB, and 1,140 to 1,290 bytes
// for an op of some 300.
const (
	maxValidatorMiB = 400
	maxClientMiB    = 40
	maxDiskRatio    = 6
)

// weigh returns the bytes under the parts of a validator's data.
func weigh(b *testing.B, home string) map[string]int64 {
	b.Helper()
	out := map[string]int64{}
	for _, part := range []string{"state", "comet"} {
		err := filepath.WalkDir(filepath.Join(home, "data", part), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			i, err := d.Info()
			if err == nil {
				out[part] += i.Size()
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return out
}

// clientMemory is what a process takes that is nothing but a client and has
// looked up many accounts.
func clientMemory(b *testing.B, n *testnet.Network, people []*owner) float64 {
	b.Helper()
	pin, err := n.Pin()
	if err != nil {
		b.Fatal(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childClient+"="+n.URLs()[0], childPin+"="+pin.String())
	for _, who := range people {
		c.Args = append(c.Args, hex.EncodeToString(who.id[:]))
	}
	out, err := c.CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return float64(size)
}

// What tells this binary to be a client: whom to ask, and its pin. It looks up
// the accounts in its arguments and says how much memory it has in use.
const (
	childClient = "CONFAB_TEST_CLIENT"
	childPin    = "CONFAB_TEST_PIN"
)

func clientMain(url string) error {
	pin, err := verify.ParsePin(os.Getenv(childPin))
	if err != nil {
		return err
	}
	from, err := source.NewHTTP(url, nil)
	if err != nil {
		return err
	}
	client, err := lightclient.New(lightclient.Config{Pin: pin, Sources: []lightclient.Source{from}})
	if err != nil {
		return err
	}
	for _, text := range os.Args[1:] {
		id, err := hex.DecodeString(text)
		if err != nil {
			return err
		}
		if _, _, err := client.Account(context.Background(), namesvc.AccountID(id), time.Hour); err != nil {
			return err
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println(m.Sys - m.HeapReleased)
	return nil
}

// serving waits until the network's first validator answers, from wherever it
// runs.
func serving(b *testing.B, n *testnet.Network) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	source := n.Sources()[0]
	for {
		_, err := source.Bundle(ctx, lightclient.Request{Chain: true, Pin: 1})
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			b.Fatal(err)
		}
	}
}

// resident returns a process's resident memory in bytes.
func resident(b *testing.B, pid int) (size int64) {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
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
