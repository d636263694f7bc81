"""The root of the command line: which verbs there are. What is heavy loads inside a verb, never here."""

from __future__ import annotations

import click

from interlock.cli import approvals, deploy, held, hosts, limits, look, operate, policy, serving, start, token, trace


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Interlock: guarded infrastructure tools for coding agents, over MCP.

    An agent proposes; policy, approvals and limits decide; every call is on record.
    """


cli.add_command(serving.serve)
cli.add_command(start.init)
cli.add_command(start.doctor)
cli.add_command(start.demo)
cli.add_command(start.version)
cli.add_command(hosts.hosts)
cli.add_command(policy.policy)
cli.add_command(approvals.approvals)
cli.add_command(deploy.deploy)
cli.add_command(held.held)
cli.add_command(held.undo)
cli.add_command(trace.trace)
cli.add_command(trace.scores)
cli.add_command(token.token)
cli.add_command(look.inspect)
cli.add_command(operate.stop)
cli.add_command(operate.lift)
cli.add_command(operate.reconcile)
cli.add_command(limits.budget)
cli.add_command(limits.unpause)
