"""Keep library chatter that no user can act on off the terminal."""

import logging
import warnings


def quiet() -> None:
    """Silence Lightning's advertisements and its hints that do not apply here."""
    talkative = (
        "utilities.rank_zero",
        "accelerators.cuda",
        # On Ctrl-C: "`weights_only` was not set", which is about saving and sounds like reading.
        "trainer.connectors.checkpoint_connector",
    )
    for name in talkative:
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.WARNING)
    # "Initializing distributed", from each of several processes.
    logging.getLogger("lightning.fabric.utilities.distributed").setLevel(logging.WARNING)
    hints = (
        r"Experiment logs directory .* exists and is not empty.*",  # earlier attempts are kept
        r".*LeafSpec.*",  # Lightning calls a deprecated function of torch
        r"torch\.distributed\.nn\.functional\.all_gather is deprecated.*",  # the same
        r"It is recommended to use `self.log\(.*sync_dist=True\)`.*",  # they are of all already
        r".*does not have many workers.*",  # arrays are already in memory
        r".*Checkpoint directory .* exists and is not empty.*",
        r".*number of training batches .* is smaller than the logging interval.*",
        r".*lr_scheduler.step\(\).*before.*optimizer.step\(\).*",
    )
    for hint in hints:
        warnings.filterwarnings("ignore", hint)
