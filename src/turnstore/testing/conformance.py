"""All chapters of the contract."""

from __future__ import annotations

from turnstore.testing.admin import Admin, SharedAdmin
from turnstore.testing.archive import Archive, SharedArchive
from turnstore.testing.branches import Branches, SharedBranches
from turnstore.testing.compaction import Compactions, SharedCompactions
from turnstore.testing.context import Context
from turnstore.testing.defects import Defects, SharedDefects
from turnstore.testing.errors import Errors, SharedErrors
from turnstore.testing.events import Events, SharedEvents
from turnstore.testing.filters import Filters
from turnstore.testing.following import Following, SharedFollowing
from turnstore.testing.fork_points import ForkPoints
from turnstore.testing.forks import Forks, SharedForks
from turnstore.testing.guarantees import Guarantees, SharedGuarantees
from turnstore.testing.lifecycle import Lifecycle, SharedLifecycle
from turnstore.testing.listing import Listing, SharedListing
from turnstore.testing.message_reads import MessageReads
from turnstore.testing.messages import Messages, SharedMessages
from turnstore.testing.pairs import Pairs, SharedPairs
from turnstore.testing.plain_values import PlainValues
from turnstore.testing.questions import Questions, SharedQuestions
from turnstore.testing.records import Records, RoundTrips
from turnstore.testing.rules import Rules
from turnstore.testing.session_updates import SessionUpdates
from turnstore.testing.sessions import Sessions, SharedSessions
from turnstore.testing.tool_call_updates import SharedToolCallUpdates, ToolCallUpdates
from turnstore.testing.tool_calls import ToolCalls
from turnstore.testing.turns import Turns
from turnstore.testing.uncompaction import SharedUncompactions, Uncompactions
from turnstore.testing.usage import SharedUsageTotals, UsageTotals
from turnstore.testing.values import Values


class StoreConformance(
    Lifecycle,
    Sessions,
    Rules,
    Listing,
    ToolCalls,
    Guarantees,
    SessionUpdates,
    Filters,
    ToolCallUpdates,
    Events,
    Messages,
    Branches,
    Errors,
    Following,
    Records,
    RoundTrips,
    MessageReads,
    Turns,
    Values,
    PlainValues,
    Context,
    Compactions,
    UsageTotals,
    Pairs,
    Uncompactions,
    Archive,
    Questions,
    Admin,
    Forks,
    ForkPoints,
    Defects,
):
    """What holds of one store."""


class SharedStoreConformance(
    StoreConformance,
    SharedLifecycle,
    SharedSessions,
    SharedListing,
    SharedGuarantees,
    SharedToolCallUpdates,
    SharedEvents,
    SharedMessages,
    SharedBranches,
    SharedErrors,
    SharedFollowing,
    SharedCompactions,
    SharedUsageTotals,
    SharedPairs,
    SharedUncompactions,
    SharedArchive,
    SharedQuestions,
    SharedAdmin,
    SharedForks,
    SharedDefects,
):
    """What holds of several stores on one database too."""
