"""Deploy: one deployment of an app on all of its hosts, planned, decided, carried out, taken back, gone on with."""
