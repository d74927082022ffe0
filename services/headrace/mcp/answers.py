"""What an MCP server's answer becomes: JSON for the model, or a failure in words. Pure."""

from __future__ import annotations

from typing import Any

from mcp_types import AudioContent, CallToolResult, ContentBlock, EmbeddedResource, ImageContent, TextContent

from headrace.messages.base import JsonObject


def content_of(result: CallToolResult) -> Any:
    """Structured content as it is; else ``{"text": ...}``, with what is no text named and left out."""
    if result.structured_content is not None:
        return result.structured_content
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    others = [_named(block) for block in result.content if not isinstance(block, TextContent)]
    return {"text": "\n".join(texts)} | ({"left_out": others} if others else {})


def words_of(result: CallToolResult) -> str:
    """What an answer that is an error says."""
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def _named(block: ContentBlock) -> JsonObject:
    match block:
        case ImageContent() | AudioContent():
            return {"type": block.type, "mime_type": block.mime_type, "base64_characters": len(block.data)}
        case EmbeddedResource():
            return {"type": block.type, "uri": str(block.resource.uri)[:500]}
    return {"type": block.type}
