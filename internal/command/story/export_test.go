package story

// Params is for running a story outside of a test.
var Params = params
