package testnet_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/namesvc"
)

// TestDiskFull_StopsAndGoesOn fills the disk under a validator's state, then the
// one under CometBFT's files. The validator stops, or stands still, and says why;
// when there is room again it goes on, with everything that was proven.
func TestDiskFull_StopsAndGoesOn(t *testing.T) {
	for _, folder := range []string{"data/state", "data/comet"} {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			p := namesvc.DevParams(testnet.NewChainID())
			p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 5
			spec := testnet.Spec{Dir: t.TempDir(), Validators: 1, Params: p, Pause: 10 * time.Millisecond}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			homes, all := found(t, ctx, spec, 1)
			disk := smallDisk(t, filepath.Join(homes[0], folder))

			c := spawn(t, homes[0], "", -1)
			all[0].writeFor(ctx, 3)
			room := fill(t, disk)
			stops := make(chan struct{})
			go func() {
				defer close(stops)
				c.stopsOrStands(ctx, "no space left on device")
			}()
			all[0].writeUntil(ctx, stops)
			if said := c.said.String(); !strings.Contains(said, "no space left on device") {
				t.Fatalf("it goes on without a disk: %.2000s", said)
			}
			// Where it could not write its log of votes, CometBFT stands still and
			// says so every other second: its operator ends it.
			c.Process.Kill()
			<-c.gone
			room()
			c = spawn(t, homes[0], "", -1)
			all[0].writeFor(ctx, 3)
			c.end(t)
			check(t, ctx, spec, all)
		})
	}
}

// stopsOrStands waits until the process has ended, or has said something twice
// with the time between in which it would have made a hundred blocks.
func (c *child) stopsOrStands(ctx context.Context, says string) {
	for {
		select {
		case <-c.gone:
			return
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
		if strings.Count(c.said.String(), says) >= 4 {
			return
		}
	}
}

// smallDisk puts a folder on a disk of its own, with its contents.
func smallDisk(t *testing.T, dir string) string {
	t.Helper()
	kept := filepath.Join(t.TempDir(), "kept")
	copyFolder(t, dir, kept)
	if err := syscall.Mount("confab-test", dir, "tmpfs", 0, "size=64m"); err != nil {
		if errors.Is(err, syscall.EPERM) && os.Getenv("CI") == "" {
			t.Skip("skipped: only root may mount a small disk")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("the disk at %s stays: %v", dir, err)
		}
	})
	copyFolder(t, kept, dir)
	return dir
}

// fill takes all room on a disk, and returns what gives it back.
func fill(t *testing.T, dir string) (room func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := bytes.Repeat([]byte{1}, 4096); err == nil; {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
}
