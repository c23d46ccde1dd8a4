//go:build !js

package verify_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmtmath "github.com/cometbft/cometbft/libs/math"
	"github.com/cometbft/cometbft/light"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	"github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// The differential test: CometBFT's light client and this package judge the
// same random, mutated input and must agree, apart from the differences that
// the package documents.

// A person is a validator's key with what costs time to derive.
type person struct {
	priv    secp256k1eth.PrivKey
	pub     secp256k1eth.PubKey
	address types.Address
}

var people = func() (list []person) {
	for i := range 210 {
		priv := secp256k1eth.PrivKey(testKey(i).Serialize())
		pub := priv.PubKey().(secp256k1eth.PubKey)
		list = append(list, person{priv, pub, pub.Address()})
	}
	return list
}()

// scenario is one question: is head, with vals, to be believed by who trusts
// trusted?
type scenario struct {
	rnd         *rand.Rand
	trusted     *types.SignedHeader
	trustedVals *types.ValidatorSet
	head        *types.SignedHeader
	vals        *types.ValidatorSet
	now         time.Time
	period      time.Duration
	drift       time.Duration
	story       []string // the mutations, for messages
}

func (c *scenario) hash() []byte {
	b := sha256.Sum256(fmt.Appendf(nil, "%d", c.rnd.Uint64()))
	return b[:]
}

// set returns a validator set of these people with powers of a random shape.
func (c *scenario) set(who []person) *types.ValidatorSet {
	shape := c.rnd.IntN(5)
	list := make([]*types.Validator, len(who))
	for i, p := range who {
		power := int64(10)
		switch shape {
		case 1:
			power = 1 + c.rnd.Int64N(1000)
		case 2:
			power = 1 + 10_000/int64(i+1)
		case 3:
			power = types.MaxTotalVotingPower / int64(len(who)+1)
		case 4:
			power = 1 + c.rnd.Int64N(4)
		}
		list[i] = &types.Validator{Address: p.address, PubKey: p.pub, VotingPower: power}
	}
	return types.NewValidatorSet(list)
}

func (c *scenario) header(height int64, at time.Time, vals, next *types.ValidatorSet) *types.Header {
	return &types.Header{
		Version: cmtversion.Consensus{Block: 11, App: c.rnd.Uint64N(3)},
		ChainID: fixtureChain, Height: height, Time: at,
		LastBlockID:    types.BlockID{Hash: c.hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: c.hash()}},
		LastCommitHash: c.hash(), DataHash: c.hash(),
		ValidatorsHash: vals.Hash(), NextValidatorsHash: next.Hash(),
		ConsensusHash: c.hash(), AppHash: c.hash(), LastResultsHash: c.hash(), EvidenceHash: c.hash(),
		ProposerAddress: vals.Proposer.Address,
	}
}

// newScenario makes heads of n validators that are believable, up to how many
// signed and how many are known.
func newScenario(rnd *rand.Rand, n int) *scenario {
	c := &scenario{rnd: rnd, period: 24 * time.Hour, drift: 10 * time.Second}
	all := slices.Clone(people)
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	c.trustedVals = c.set(all[:n])
	c.vals = c.trustedVals
	if replaced := []int{0, 0, n / 4, n / 2, 2 * n / 3, n}[rnd.IntN(6)]; replaced > 0 {
		c.vals = c.set(all[replaced : n+replaced-replaced*rnd.IntN(2)/2])
	}
	height, gap := 1+rnd.Int64N(1000), int64(1)
	if rnd.IntN(3) > 0 {
		gap = 2 + rnd.Int64N(1000)
	}
	start := fixtureStart.Add(time.Duration(rnd.Int64N(1e9)))
	c.trusted = &types.SignedHeader{Header: c.header(height, start, c.trustedVals, c.vals)}
	at := start.Add(time.Duration(1 + rnd.Int64N(int64(time.Hour))))
	c.now = at.Add(time.Duration(rnd.Int64N(int64(time.Hour))))
	c.head = &types.SignedHeader{
		Header: c.header(height+gap, at, c.vals, c.vals),
		Commit: &types.Commit{
			Height: height + gap, Round: rnd.Int32N(3),
			BlockID: types.BlockID{PartSetHeader: types.PartSetHeader{Total: 1 + rnd.Uint32N(9), Hash: c.hash()}},
		},
	}
	signing := []float64{1, 1, 0.9, 0.75, 0.65}[rnd.IntN(5)]
	for _, v := range c.vals.Validators {
		s := types.CommitSig{
			BlockIDFlag:      types.BlockIDFlagCommit,
			ValidatorAddress: v.Address,
			Timestamp:        at.Add(time.Duration(rnd.Int64N(int64(3 * time.Second)))),
		}
		if rnd.Float64() > signing {
			s.BlockIDFlag = types.BlockIDFlagNil
			if rnd.IntN(2) == 0 {
				s = types.NewCommitSigAbsent()
			}
		}
		c.head.Commit.Signatures = append(c.head.Commit.Signatures, s)
	}
	c.seal()
	return c
}

// seal makes the head consistent again: hashes, block id and all signatures of
// validators whose keys are known.
func (c *scenario) seal() {
	c.head.ValidatorsHash = c.vals.Hash()
	c.head.Commit.Height = c.head.Height
	c.head.Commit.BlockID.Hash = c.head.Hash()
	for i := range c.head.Commit.Signatures {
		c.sign(i)
	}
}

// sign makes signature i anew. What CometBFT itself cannot sign stays.
func (c *scenario) sign(i int) {
	defer func() { _ = recover() }() // its encoders panic on times out of range
	s := &c.head.Commit.Signatures[i]
	if s.BlockIDFlag == types.BlockIDFlagAbsent || i >= len(c.vals.Validators) {
		return
	}
	for _, p := range people {
		if key, ok := c.vals.Validators[i].PubKey.(secp256k1eth.PubKey); ok && p.pub.Equals(key) {
			s.Signature, _ = p.priv.Sign(c.head.Commit.VoteSignBytes(c.head.ChainID, int32(i)))
		}
	}
}

// A step is how a light client goes on: one function of ours and of theirs.
type step struct {
	name   string
	ours   func(verify.Trust, verify.Head, verify.Validators, time.Time, verify.Rules) (verify.Trust, error)
	theirs func(c *scenario) error
}

var oneThird = cmtmath.Fraction{Numerator: 1, Denominator: 3}

var (
	advance = step{"Advance", verify.Advance, func(c *scenario) error {
		return light.Verify(c.trusted, c.trustedVals, c.head, c.vals, c.period, c.now, c.drift, oneThird)
	}}
	adjacent = step{"Adjacent", verify.Adjacent, func(c *scenario) error {
		return light.VerifyAdjacent(c.trusted, c.head, c.vals, c.period, c.now, c.drift)
	}}
	skipping = step{"Skipping", verify.Skipping, func(c *scenario) error {
		return light.VerifyNonAdjacent(c.trusted, c.trustedVals, c.head, c.vals, c.period, c.now, c.drift, oneThird)
	}}
)

// theirs is CometBFT's answer: the step, and the checks of a light block that
// its providers make. A panic of theirs is a refusal.
func (c *scenario) theirs(s step) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	block := types.LightBlock{SignedHeader: c.head, ValidatorSet: c.vals}
	if err := s.theirs(c); err != nil {
		return err
	}
	return block.ValidateBasic(c.head.ChainID)
}

// errForm marks what does not even convert.
var errForm = errors.New("has no form")

// convert returns the scenario in our types, after a trip over the wire.
func (c *scenario) convert() (tr verify.Trust, h verify.Head, v verify.Validators, err error) {
	if tr, err = trustOf(c.trusted, c.trustedVals); err != nil {
		return tr, h, v, fmt.Errorf("%w: trusted: %w", errForm, err)
	}
	if h, err = headOf(c.head); err != nil {
		return tr, h, v, fmt.Errorf("%w: head: %w", errForm, err)
	}
	if v, err = validatorsOf(c.vals); err != nil {
		return tr, h, v, fmt.Errorf("%w: validators: %w", errForm, err)
	}
	var again verify.Head
	if err = wire.Decode(wire.Encode(h), &again, verify.MaxHeadSize); err != nil {
		return tr, h, v, fmt.Errorf("%w: %w", errForm, err)
	}
	if !reflect.DeepEqual(h, again) {
		return tr, h, v, fmt.Errorf("the wire changed %+v to %+v", h, again)
	}
	return tr, again, v, nil
}

func (c *scenario) ours(s step) error {
	tr, h, v, err := c.convert()
	if err != nil {
		return err
	}
	got, err := s.ours(tr, h, v, c.now, verify.Rules{TrustingPeriod: c.period, MaxClockDrift: c.drift})
	if err == nil && got.Hash != h.Header.Hash() {
		return fmt.Errorf("trust is in %X", got.Hash)
	}
	return err
}

// addressed returns the scenario with every validator's address that of its
// key, and every vote's that of the validator at its index. Neither address is
// hashed or signed, and we have none.
func (c *scenario) addressed() *scenario {
	d := *c
	d.vals = c.vals.Copy()
	for _, v := range d.vals.Validators {
		v.Address = v.PubKey.Address()
	}
	if d.vals.Proposer != nil {
		d.vals.Proposer = d.vals.Validators[0]
	}
	commit := *c.head.Commit
	commit.Signatures = slices.Clone(commit.Signatures)
	for i := range min(len(commit.Signatures), len(d.vals.Validators)) {
		if commit.Signatures[i].BlockIDFlag != types.BlockIDFlagAbsent {
			commit.Signatures[i].ValidatorAddress = d.vals.Validators[i].Address
		}
	}
	d.head = &types.SignedHeader{Header: c.head.Header, Commit: &commit}
	return &d
}

// stricter names the documented reason for which we refuse what CometBFT may
// accept, or "".
func (c *scenario) stricter() string {
	for i, v := range c.vals.Validators {
		if _, ok := v.PubKey.(secp256k1eth.PubKey); !ok {
			return "another key type"
		}
		if v.VotingPower == 0 {
			return "no power"
		}
		if i > 0 && !types.ValidatorsByVotingPower(c.vals.Validators).Less(i-1, i) {
			return "order"
		}
	}
	if len(c.vals.Validators) > verify.MaxValidators {
		return "too many validators"
	}
	if len(c.head.AppHash) != 32 {
		return "app hash size"
	}
	for name, field := range hashFields {
		if b := *field(c.head.Header); name != "app hash" && len(b) == 32 && [32]byte(b) == ([32]byte{}) {
			return "hash of zeros"
		}
	}
	for _, s := range c.head.Commit.Signatures {
		if s.BlockIDFlag == types.BlockIDFlagAbsent {
			continue
		}
		if len(s.Signature) != 65 {
			return "signature size"
		}
		if d := s.Timestamp.Sub(c.head.Time); !c.head.Time.Add(d).Equal(s.Timestamp) {
			return "vote time"
		}
	}
	return ""
}

// class is what a caller branches on, for either side's error.
func class(err error) string {
	var expired light.ErrOldHeaderExpired
	var untrusted light.ErrNewValSetCantBeTrusted
	var broken light.ErrInvalidHeader
	if errors.As(err, &broken) {
		err = broken.Reason
	}
	var power types.ErrNotEnoughVotingPowerSigned
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &expired), errors.Is(err, verify.ErrExpired):
		return "expired"
	case errors.As(err, &untrusted), errors.Is(err, verify.ErrTrustedPower):
		return "too few of the trusted"
	case errors.As(err, &power), errors.Is(err, verify.ErrPower):
		return "too little power"
	case strings.Contains(err.Error(), "wrong signature"), errors.Is(err, verify.ErrSignature):
		return "wrong signature"
	default:
		return "invalid"
	}
}

// tallyOf counts what a differential run saw.
type tallyOf map[string]int

func (t tallyOf) print(tb testing.TB) {
	keys := make([]string, 0, len(t))
	for k := range t {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		tb.Logf("%7d %s", t[k], k)
	}
}

// compare asks both and fails if they disagree without a documented reason.
func (c *scenario) compare(t testing.TB, seen tallyOf) {
	t.Helper()
	c.compareStep(t, advance, seen)
	if c.rnd.IntN(4) == 0 {
		c.compareStep(t, adjacent, tallyOf{})
		c.compareStep(t, skipping, tallyOf{})
	}
	c.compareCommit(t, seen)
}

func (c *scenario) compareStep(t testing.TB, s step, seen tallyOf) {
	t.Helper()
	fixed := c.addressed()
	theirs, ours := fixed.theirs(s), c.ours(s)
	want := theirs == nil
	strict := fixed.stricter()
	switch {
	case want && strict != "":
		want = false
		seen["  we alone refuse: "+strict]++
	case s.name == "Advance" && c.head.Height == c.trusted.Height:
		want = slices.Equal(c.head.Hash(), c.trusted.Hash()) && !errors.Is(ours, errForm)
	}
	if got := ours == nil; got != want {
		t.Fatalf("%s: %v\ntheirs: %v\n  ours: %v\nstricter: %q", s.name, c.story, theirs, ours, strict)
	}
	if bare := c.theirs(s) == nil; len(c.story) > 0 && bare != (theirs == nil) {
		if bare {
			seen["  they alone accept: a wrong signature behind a wrong address"]++
		} else {
			seen["  they alone refuse: an address that nobody signed"]++
		}
	}
	// Whatever a caller branches on must be the same too, where both got that
	// far: a set or votes that do not fit are found by us before any signature.
	if strict == "" && !errors.Is(ours, errForm) && c.head.Height != c.trusted.Height &&
		len(c.head.Commit.Signatures) == len(c.vals.Validators) && class(theirs) != class(ours) {
		t.Fatalf("%s: %v\ntheirs: %s: %v\n  ours: %s: %v", s.name, c.story, class(theirs), theirs, class(ours), ours)
	}
	if ours == nil {
		seen["accepted"]++
	} else {
		seen["refused"]++
		if theirs != nil {
			seen["  refused by both: "+class(theirs)]++
		}
	}
}

// compareCommit compares the checks of a head by its own validators alone, and
// what goes into them.
func (c *scenario) compareCommit(t testing.TB, seen tallyOf) {
	t.Helper()
	_, h, v, err := c.convert()
	fixed := c.addressed()
	if err != nil || fixed.stricter() != "" {
		return
	}
	if hash := v.Hash(); !slices.Equal(hash[:], c.vals.Hash()) {
		t.Fatalf("%v: validators hash is %X, theirs %X", c.story, hash, c.vals.Hash())
	}
	theirs := c.head.Hash()
	if theirs == nil { // they cannot hash it, and might take a commit to no hash
		if h.Check(v) == nil {
			t.Fatalf("%v: a header without a hash was accepted", c.story)
		}
		return
	}
	if hash := h.Header.Hash(); !slices.Equal(hash[:], theirs) {
		t.Fatalf("%v: header hash is %X, theirs %X", c.story, hash, theirs)
	}
	check := func(name string, theirs func(string, *types.ValidatorSet, types.BlockID, int64, *types.Commit) error, ours func(verify.Validators) error) {
		want := func() (err error) {
			defer func() {
				if recover() != nil {
					err = errors.New("panic")
				}
			}()
			if err := fixed.head.ValidateBasic(c.head.ChainID); err != nil {
				return err
			}
			if !slices.Equal(c.head.ValidatorsHash, c.vals.Hash()) {
				return errors.New("validators do not match")
			}
			return theirs(c.head.ChainID, fixed.vals, c.head.Commit.BlockID, c.head.Height, fixed.head.Commit)
		}()
		got := ours(v)
		if class(want) != class(got) {
			t.Fatalf("%v: %s\ntheirs: %v\n  ours: %v", c.story, name, want, got)
		}
		seen["  "+name+": "+class(got)]++
	}
	check("Check and VerifyCommitLight", types.VerifyCommitLight, h.Check)
	check("CheckAll and VerifyCommit", types.VerifyCommit, h.CheckAll)
	if h.CheckAll(v) != nil {
		return
	}
	trimmed := h.Trim(v)
	if err := trimmed.Check(v); err != nil {
		t.Fatalf("%v: trimmed: %v", c.story, err)
	}
	for i, s := range trimmed.Commit.Votes { // they agree to that, too
		if s.Kind == verify.VoteAbsent {
			fixed.head.Commit.Signatures[i] = types.NewCommitSigAbsent()
		}
	}
	if err := types.VerifyCommit(c.head.ChainID, fixed.vals, c.head.Commit.BlockID, c.head.Height, fixed.head.Commit); err != nil {
		t.Fatalf("%v: theirs, trimmed: %v", c.story, err)
	}
	seen["  trimmed"]++
}

// differ runs cases random scenarios of n validators, each as it is and with a
// few mutations.
func differ(t testing.TB, rnd *rand.Rand, n, cases int, seen tallyOf) {
	for range cases {
		c := newScenario(rnd, n)
		for range rnd.IntN(3) {
			c.mutate()
		}
		c.compare(t, seen)
	}
}

// extent returns how much to do: usually, with -short (the race detector makes
// signatures some twenty times slower), and with CONFAB_LONG=1.
func extent(usual, short, long int) int {
	switch {
	case testing.Short():
		return short
	case os.Getenv("CONFAB_LONG") == "1":
		return long
	default:
		return usual
	}
}

func TestAdvance_AgreesWithCometBFT(t *testing.T) {
	seen := tallyOf{}
	rnd := rand.New(rand.NewPCG(20261121, 40))
	scale := extent(10, 1, 200)
	total := 0
	for _, run := range []struct{ n, cases int }{{1, 150}, {2, 150}, {3, 300}, {4, 900}, {7, 400}, {16, 200}, {40, 30}, {100, 12}} {
		differ(t, rnd, run.n, run.cases*scale/10, seen)
		total += run.cases * scale / 10
	}
	t.Logf("%7d cases", total)
	seen.print(t)
	if seen["accepted"] < total/10 || seen["refused"] < total/10 {
		t.Error("nearly all cases went one way: the test shows little")
	}
}

// Every mutation by itself, so that none hides behind another.
func TestAdvance_AgreesWithCometBFTOnEachMutation(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	times := extent(8, 1, 120)
	for _, m := range mutations {
		seen := tallyOf{}
		for i := range 2 * times {
			c := newScenario(rnd, 4)
			c.apply(m, i%2 == 0)
			c.compare(t, seen)
		}
		t.Logf("%-34s %3d accepted, %3d refused", m.name, seen["accepted"], seen["refused"])
	}
}

func FuzzAdvance_AgreesWithCometBFT(f *testing.F) {
	for i := range uint64(20) {
		f.Add(i, uint8(i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		differ(t, rand.New(rand.NewPCG(seed, 0)), 1+int(n)%20, 1, tallyOf{})
	})
}

func TestSignBytes_AreCometBFTs(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for range 300 {
		c := newScenario(rnd, 1+rnd.IntN(5))
		c.head.ChainID = strings.Repeat("x", rnd.IntN(51))
		c.head.Commit.Round = rnd.Int32()
		c.head.Commit.BlockID.PartSetHeader = types.PartSetHeader{Total: rnd.Uint32() >> rnd.IntN(33)}
		c.head.Time = time.Unix(rnd.Int64N(2)*rnd.Int64N(1e9), rnd.Int64N(2)*rnd.Int64N(1e9))
		for i := range c.head.Commit.Signatures {
			if s := &c.head.Commit.Signatures[i]; s.BlockIDFlag != types.BlockIDFlagAbsent {
				s.Timestamp = time.Unix(rnd.Int64N(1e10)-2e9, rnd.Int64N(2)*rnd.Int64N(1e9))
			}
		}
		c.seal()
		h, err := headOf(c.head)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range c.head.Commit.Signatures {
			if s.BlockIDFlag == types.BlockIDFlagAbsent {
				continue
			}
			if got, want := h.SignBytes(i), c.head.Commit.VoteSignBytes(c.head.ChainID, int32(i)); !slices.Equal(got, want) {
				t.Fatalf("vote %+v:\n got %x\nwant %x", s, got, want)
			}
		}
		number, digest := rnd.Uint64()>>rnd.IntN(64), sha256.Sum256(c.hash())
		vote := &cmtproto.Vote{Height: c.head.Height * rnd.Int64N(2), Round: c.head.Commit.Round, Extension: verify.SealExtension(number, digest)}
		got := verify.SealSignBytes(c.head.ChainID, uint64(vote.Height), uint32(vote.Round), vote.Extension)
		if want := types.VoteExtensionSignBytes(c.head.ChainID, vote); !slices.Equal(got, want) {
			t.Fatalf("seal:\n got %x\nwant %x", got, want)
		}
	}
}

func TestValidators_HaveCometBFTsAddressesAndOrder(t *testing.T) {
	c := &scenario{rnd: rand.New(rand.NewPCG(4, 4))}
	for n := 1; n <= 60; n++ {
		theirs := c.set(people[:n])
		ours, err := validatorsOf(theirs)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range theirs.Validators {
			if a := ours.Address(i); !slices.Equal(a[:], v.Address) {
				t.Fatalf("address %d is %x, want %v", i, a, v.Address)
			}
		}
		if ours.TotalPower() != uint64(theirs.TotalVotingPower()) {
			t.Fatalf("power is %d, want %d", ours.TotalPower(), theirs.TotalVotingPower())
		}
	}
}

// Whatever the signature, our check of a known key and CometBFT's recovery say
// the same about seals, which are signed like votes.
func TestCheckSeals_TakesCometBFTsSignatures(t *testing.T) {
	set := equalSet(t, 0, 4)
	c := checkpoint(set)
	s := seals(c, set, 0, 1, 2, 3)
	vote := &cmtproto.Vote{Height: int64(s.Height), Round: int32(s.Round),
		Extension: verify.SealExtension(c.Number, c.Digest(verify.ChainTag(fixtureChain)))}
	for i, key := range set.keys {
		signature, err := secp256k1eth.PrivKey(key.Serialize()).Sign(types.VoteExtensionSignBytes(fixtureChain, vote))
		if err != nil {
			t.Fatal(err)
		}
		s.Signatures[i] = verify.Signature(signature)
	}
	if power, err := verify.CheckSeals(fixtureChain, c, s, set.Validators); power != 40 || err != nil {
		t.Errorf("got %d, %v", power, err)
	}
}
