//go:build !js

package bundle_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func spec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/SPEC-bundle.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSpec_IsShortAndHasAVersion(t *testing.T) {
	all := strings.Split(spec(t), "\n")
	if len(all)-1 > 350 {
		t.Errorf("%d lines", len(all)-1)
	}
	if want := fmt.Sprintf("version %d", bundle.Version); !strings.HasPrefix(all[0], "# SPEC-bundle") || !strings.Contains(all[0], want) {
		t.Errorf("the first line is %q", all[0])
	}
}

// TestSpec_ExamplesAreFromTheVectors compares every line of each example with
// the vector that it names.
func TestSpec_ExamplesAreFromTheVectors(t *testing.T) {
	n, faults := vectors.CheckExamples(vectorsDir, spec(t))
	if n < 5 {
		t.Errorf("only %d examples", n)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// TestSpec_NamesWhatTheCodeHasFixed looks for numbers and names.
func TestSpec_NamesWhatTheCodeHasFixed(t *testing.T) {
	text := strings.Join(strings.Fields(spec(t)), " ")
	rules := verify.DefaultRules()
	for _, want := range []string{
		fmt.Sprintf("a bundle %d KiB", bundle.MaxSize>>10), fmt.Sprintf("1 to %d `[head, validators?]`", bundle.MaxSteps),
		fmt.Sprintf("at most %d `[kind, id, value, proof]`", bundle.MaxLeaves), fmt.Sprintf("a validator set %d members", verify.MaxValidators),
		fmt.Sprintf("a chain id %d bytes", verify.MaxChainID), fmt.Sprintf("(%d days,", rules.TrustingPeriod/(24*time.Hour)),
		fmt.Sprintf("of clocks (%d seconds)", rules.MaxClockDrift/time.Second), fmt.Sprintf("in the body, %d bytes at most", namesvc.MaxOp),
		"`confab/checkpoint/1\\n`", "`confab/chain/1\\n`", "at most 80 printable ASCII", "an id of at most 40 bytes", "at most 2⁶⁰−1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if verify.MaxTotalPower != 1<<60-1 {
		t.Error("the most power is another")
	}
	for c := wire.Invalid; c <= wire.Internal; c++ {
		if !regexp.MustCompile(fmt.Sprintf(`%v( and [a-z-]+)? %d`, c, c.HTTPStatus())).MatchString(text) {
			t.Errorf("it does not give the status of %v", c)
		}
	}
	for a := bundle.Committed; a <= bundle.Anchored; a++ {
		if !strings.Contains(text, "*"+a.String()+"*") {
			t.Errorf("it does not say what %v is", a)
		}
	}
}

// TestSpec_HasTheFieldsInTheirOrder compares the structures that are written out
// with the types.
func TestSpec_HasTheFieldsInTheirOrder(t *testing.T) {
	text := strings.Join(strings.Fields(spec(t)), " ")
	for _, want := range []struct {
		fields string
		v      any
	}{
		{"block_version, app_version, chain, height, time, last_block, last_commit_hash, data_hash, validators_hash, " +
			"next_validators_hash, consensus_hash, app_hash, last_results_hash, evidence_hash, proposer", verify.Header{}},
		{"round, parts, kinds, times, signatures", commit{}},
		{"version, about, origin?, steps, leaves, anchor", proofBundle{}},
		{"chain, height, time, hash, validators, next_validators_hash", trust{}},
		{"kind, id, value, proof", leaf{}},
		{"number, height, time, block_hash, app_hash, history_root, signers, next_signers, inbox_count, inbox_hash", verify.Checkpoint{}},
		{"height, round, present, signatures", seals{}},
	} {
		if !strings.Contains(text, "`["+want.fields+"]`") {
			t.Errorf("it does not have `[%s]`", want.fields)
		}
		text, err := wire.JSON(want.v)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range regexp.MustCompile(`(?m)^  "([a-z_]+)":`).FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		got := strings.ReplaceAll(strings.Join(names, ", "), "chain_id", "chain")
		if got != strings.ReplaceAll(want.fields, "?", "") {
			t.Errorf("%T has %s", want.v, got)
		}
	}
}

// TestSpec_SectionsThatCodeNamesExist finds every "SPEC-bundle §n".
func TestSpec_SectionsThatCodeNamesExist(t *testing.T) {
	text, found := spec(t), 0
	for _, pattern := range []string{"../*/*.go", "../*.go", "../../chain/*/*.go", "../../docs/vectors/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`SPEC-bundle(?:\.md)? §(\d+)`).FindAllStringSubmatch(string(b), -1) {
				found++
				if !strings.Contains(text, "\n## "+m[1]+". ") {
					t.Errorf("%s names §%s", path, m[1])
				}
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d references found", found)
	}
}
