package query

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// blocksAt is a record of blocks at these heights, in ascending order. It counts
// how often it is asked.
func blocksAt(heights []uint64, asked *int) func(after uint64, limit int) ([]chain.BlockRecord, error) {
	return func(after uint64, limit int) ([]chain.BlockRecord, error) {
		*asked++
		i, found := slices.BinarySearch(heights, after)
		if found {
			i++
		}
		var out []chain.BlockRecord
		for ; i < len(heights) && len(out) < limit; i++ {
			out = append(out, chain.BlockRecord{Height: heights[i]})
		}
		return out, nil
	}
}

// TestBackwards_FindsEveryBlockOnceNewestFirst, however densely they lie, and in
// as many pieces as it takes.
func TestBackwards_FindsEveryBlockOnceNewestFirst(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for _, gap := range []int{1, 2, 3, 5, 100, 10_000} {
		for range 20 {
			var heights []uint64
			for h := uint64(1 + r.Intn(gap)); len(heights) < 300; h += uint64(1 + r.Intn(gap)) {
				heights = append(heights, h)
			}
			from := heights[len(heights)-1] + uint64(r.Intn(gap))
			var got []uint64
			pieces, asked := 0, 0
			for unseen := from; unseen > 0; pieces++ {
				start, before := unseen, asked
				for b, err := range backwards(blocksAt(heights, &asked), start, &unseen) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, b.Height)
				}
				if asked-before > maxStrides {
					t.Fatalf("gap %d: %d reads for one page", gap, asked-before)
				}
				if unseen >= start {
					t.Fatalf("gap %d: no way is made from height %d", gap, start)
				}
			}
			slices.Reverse(got)
			if !slices.Equal(got, heights) {
				t.Fatalf("gap %d: found %d blocks, want %d", gap, len(got), len(heights))
			}
			if perPage := len(heights) / pieces; gap > 10 && perPage < 10 {
				t.Errorf("gap %d: a page has %d blocks", gap, perPage)
			}
		}
	}
}

func TestBackwards_CrossesAChainThatNobodyUses(t *testing.T) {
	asked := 0
	unseen := uint64(1 << 62)
	var got []uint64
	for b := range backwards(blocksAt([]uint64{3}, &asked), unseen, &unseen) {
		got = append(got, b.Height)
	}
	if !slices.Equal(got, []uint64{3}) || unseen != 0 {
		t.Errorf("found %v with %d heights not seen", got, unseen)
	}
	for _, from := range []uint64{0, 1, 2} {
		for b := range backwards(blocksAt([]uint64{3}, &asked), from, &unseen) {
			t.Errorf("from %d down there is a block %d", from, b.Height)
		}
	}
	// A thousand checkpoints, and nothing else.
	var idle []uint64
	for h := uint64(20); h < 20_000; h += 20 {
		idle = append(idle, h)
	}
	asked, unseen = 0, 20_000
	for range backwards(blocksAt(idle, &asked), unseen, &unseen) {
	}
	if unseen != 0 {
		t.Errorf("it gives up %d heights before the end, after %d reads", unseen, asked)
	}
	broken := errors.New("disk")
	for _, err := range backwards(func(uint64, int) ([]chain.BlockRecord, error) { return nil, broken }, 9, &unseen) {
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
}

// TestBackwards_ReadsOnlySoMuch: blocks may be megabytes.
func TestBackwards_ReadsOnlySoMuch(t *testing.T) {
	big, reads := make([]byte, 1<<20), 0
	unseen := uint64(1000)
	n := 0
	for range backwards(func(after uint64, limit int) (out []chain.BlockRecord, _ error) {
		reads++
		for i := range limit {
			out = append(out, chain.BlockRecord{Height: after + 1 + uint64(i), Ops: [][]byte{big}})
		}
		return out, nil
	}, unseen, &unseen) {
		n++
	}
	if reads != 5 || n != 20 || unseen != 980 {
		t.Errorf("%d reads of %d blocks, %d heights not seen", reads, n, unseen)
	}
}

// TestOpRow_SaysWhatAnOpIsAndWhatProvesIt: an accepted op is proven by what it
// changed; one that was refused changed nothing, so there is only its block.
func TestOpRow_SaysWhatAnOpIsAndWhatProvesIt(t *testing.T) {
	account, hash := namesvc.AccountID{0xaa}, [32]byte{0xbb}
	signed := func(op namesvc.Op, body any) []byte {
		op.Chain, op.Account, op.Body = "c", account, wire.Encode(body)
		return wire.Encode(parcel{Payload: wire.Encode(op), Signature: make([]byte, 64)})
	}
	commit := namesvc.EncodeCommit(namesvc.Commit{Chain: "c", Hash: hash})
	register := signed(namesvc.Op{Kind: namesvc.OpRegister}, namesvc.Registration{Handle: "alice"})
	renew := signed(namesvc.Op{Kind: namesvc.OpRenew}, namesvc.Renewal{})
	byAccount := "/v1/bundle?account=" + account.String() + "&devices=1&pin=3&serving=1"
	for _, tc := range []struct {
		name                           string
		raw                            []byte
		code                           namesvc.RejectCode
		kind, handle, account, refused string
		file                           string
	}{
		{"commit", commit, 0, "commit", "", "", "", "/v1/bundle?commit=" + namesvc.OpID(hash).String() + "&pin=3"},
		{"commit refused", commit, namesvc.NotEnoughWork, "commit", "", "", namesvc.NotEnoughWork.String(), "/v1/bundle?at=9&pin=3"},
		{"register", register, 0, "register", "@alice", "aa0000000000…", "", byAccount},
		{"register refused", register, namesvc.HandleTaken, "register", "@alice", "aa0000000000…", namesvc.HandleTaken.String(), "/v1/bundle?at=9&pin=3"},
		{"renew", renew, 0, "renew", "", "aa0000000000…", "", byAccount},
		{"garbage", []byte("garbage"), namesvc.Malformed, "not readable", "", "", namesvc.Malformed.String(), "/v1/bundle?at=9&pin=3"},
	} {
		row := links{3}.opRow(tc.raw, 9, 1_700_000_000, tc.code)
		got := fmt.Sprint(row.Kind, "|", row.Handle, "|", row.Account, "|", row.Refused, "|", row.Proof.File)
		if want := fmt.Sprint(tc.kind, "|", tc.handle, "|", tc.account, "|", tc.refused, "|", tc.file); got != want {
			t.Errorf("%s: got %s, want %s", tc.name, got, want)
		}
		if row.Time.ISO != "2023-11-14T22:13:20Z" || row.Block != "/explorer/blocks/9?pin=3" || row.Size != len(tc.raw) {
			t.Errorf("%s: %+v", tc.name, row)
		}
	}
}

// TestExplorer_EscapesWhateverItShows puts markup into every text of every page,
// as if the law had let it through.
func TestExplorer_EscapesWhateverItShows(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}`
	when := moment{Text: evil, ISO: evil}
	p := proof{Of: evil, Name: evil, File: "/" + evil, JSON: "/" + evil}
	js := link{evil, "javascript:alert(3)"}
	op := opRow{Time: when, Block: "javascript:alert(3)", Kind: evil, Handle: evil, Account: evil, Page: evil, ID: evil, Receipt: evil, Refused: evil, Proof: p}
	entry := &entryView{
		Account: evil, Kind: evil, LastOp: evil, Handles: []link{js}, Registered: when, Expires: when, Lapses: when, Active: when,
		Concierges: []conciergeRow{{Name: js, Proof: p}}, AlsoKnownAs: []string{evil}, Profile: evil, Avatar: evil, Operates: evil, Votes: 1,
		Service: &serviceView{Roles: evil, Key: evil, URLs: []string{evil}, Peers: []string{evil}},
		Pending: &pendingView{Kind: evil, Handle: evil, Op: evil, Effective: when}, Proof: p, Page: evil,
	}
	point := checkpointRow{Time: when, Block: evil, Digest: evil, Sealed: true, File: evil, Proof: p}
	x := (&Server{Chain: evil, Logger: slog.New(slog.NewTextHandler(failing{t}, nil))}).newExplorer()
	for file, body := range map[string]any{
		"overview":    overview{Time: when, Root: evil, Hash: evil, Proof: p, Ops: []opRow{op}, Checkpoints: []checkpointRow{point}, MoreOps: evil, MoreCheckpoints: evil},
		"name":        nameView{Asked: evil, Handle: evil, Status: evil, Time: when, Proof: p, Entry: entry},
		"ops":         opList{Rows: []opRow{op}, Newer: evil, Older: evil},
		"block":       blockView{Time: when, Known: true, Seed: evil, Checkpoint: 1, Ops: []opRow{op}, Proof: p, Previous: evil, Next: evil, Ahead: evil, Back: evil},
		"account":     accountView{ID: evil, Entry: entry, Time: when, Ops: []opRow{op}, Older: evil, Newer: evil},
		"checkpoints": checkpointList{Rows: []checkpointRow{point}, Newer: evil, Older: evil},
		"validators":  validatorList{Rows: []validatorRow{{Address: evil, Percent: evil, Signed: evil, Operator: evil, Account: evil}}, Proof: p},
		"problem":     evil,
	} {
		out := httptest.NewRecorder()
		x.write(out, links{firstPin}, sheet{file: file, title: evil, body: body}, 0)
		got := out.Body.String()
		if out.Code != 200 || !strings.Contains(got, "&lt;script&gt;alert(1)") {
			t.Errorf("%s: status %d; it does not show the text:\n%s", file, out.Code, got)
		}
		for _, bad := range []string{"<script", "<img", `"javascript:`, `href=""'`} {
			if strings.Contains(got, bad) {
				t.Errorf("%s has %s:\n%s", file, bad, got)
			}
		}
	}
	out := httptest.NewRecorder()
	x.write(out, links{firstPin}, sheet{file: "name", body: nameView{Asked: evil, Fault: evil, Owner: evil, OwnerURL: "javascript:alert(3)"}}, 0)
	if got := out.Body.String(); strings.Contains(got, "<script") || strings.Contains(got, `"javascript:`) {
		t.Errorf("a fault is shown as %s", got)
	}
}

// failing fails a test that writes a log: a page must render.
type failing struct{ t *testing.T }

func (f failing) Write(b []byte) (int, error) {
	f.t.Errorf("the log says %s", b)
	return len(b), nil
}

// TestExplorer_ManyReadersWaitTheirTurnAndNoLonger: pages are costly, so only a
// few are made at once.
func TestExplorer_ManyReadersWaitTheirTurnAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := (&Server{Chain: "c", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}).newExplorer()
		release := make(chan struct{})
		slow := func(*http.Request, links) (sheet, error) {
			<-release
			return sheet{file: "problem", body: "made"}, nil
		}
		codes := make(chan int, maxPages+1)
		ask := func() {
			out := httptest.NewRecorder()
			x.serve(out, httptest.NewRequest("GET", "/", nil), slow)
			codes <- out.Code
		}
		for range maxPages {
			go ask()
		}
		synctest.Wait()
		began := time.Now()
		go ask()
		if code := <-codes; code != wire.Exhausted.HTTPStatus() || time.Since(began) != maxPageWait {
			t.Errorf("who comes too late gets %d after %v", code, time.Since(began))
		}
		go ask() // who is patient enough
		synctest.Wait()
		close(release)
		for range maxPages + 1 {
			if code := <-codes; code != 200 {
				t.Errorf("status %d", code)
			}
		}
	})
}

// TestExplorer_KeepsItsTroublesToItself: what goes wrong inside is for the log.
func TestExplorer_KeepsItsTroublesToItself(t *testing.T) {
	var log strings.Builder
	x := (&Server{Chain: "c", Logger: slog.New(slog.NewTextHandler(&log, nil))}).newExplorer()
	out := httptest.NewRecorder()
	x.serve(out, httptest.NewRequest("GET", "/", nil), func(*http.Request, links) (sheet, error) {
		return sheet{}, fmt.Errorf("pebble: /secret/path is gone")
	})
	if got := out.Body.String(); out.Code != 500 || strings.Contains(got, "secret") || !strings.Contains(got, "its log says what") {
		t.Errorf("status %d:\n%s", out.Code, got)
	}
	if !strings.Contains(log.String(), "/secret/path") {
		t.Errorf("the log says %q", log.String())
	}
	// A page that does not render is a whole answer, not half a page.
	log.Reset()
	out = httptest.NewRecorder()
	x.write(out, links{}, sheet{file: "ops", body: 7}, 0)
	if out.Code != 500 || !strings.Contains(log.String(), "explorer page") || strings.Contains(out.Body.String(), "<main") {
		t.Errorf("status %d, %q, log %q", out.Code, out.Body, log.String())
	}
}

// FuzzOpRow: whatever stands in a block can be shown. Ops that do not parse get
// into blocks of dishonest proposers.
func FuzzOpRow(f *testing.F) {
	f.Add([]byte{}, uint64(1), uint64(1<<63), uint32(0))
	f.Add(namesvc.EncodeCommit(namesvc.Commit{Chain: "c", Hash: [32]byte{1}}), uint64(9), uint64(1), uint32(0))
	f.Add(wire.Encode(parcel{Payload: wire.Encode(namesvc.Op{Kind: namesvc.OpRegister, Chain: "c", Body: wire.Encode(namesvc.Registration{Handle: "<b>"})}), Signature: []byte{1}}), uint64(9), uint64(1), uint32(7))
	x := (&Server{Chain: "c", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}).newExplorer()
	f.Fuzz(func(t *testing.T, raw []byte, height, time uint64, code uint32) {
		row := links{firstPin}.opRow(raw, height, time, namesvc.RejectCode(code))
		if (row.Refused == "") != (code == 0) || row.Size != len(raw) || row.Kind == "" {
			t.Errorf("%+v", row)
		}
		out := httptest.NewRecorder()
		x.write(out, links{firstPin}, sheet{file: "ops", body: opList{Rows: []opRow{row}}}, 0)
		if out.Code != 200 || strings.Count(out.Body.String(), "<b>") != 1 { // the frame's own
			t.Errorf("status %d:\n%s", out.Code, out.Body)
		}
	})
}
